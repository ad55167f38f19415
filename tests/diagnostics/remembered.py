"""The exact posterior of a batch, computed once instead of at every draw."""


def remembered(model):
    compute, known = model.posterior, {}

    def posterior(batch):
        if id(batch) not in known:
            known[id(batch)] = (batch, compute(batch))  # kept, so that no other takes its id
        return known[id(batch)][1]

    model.posterior = posterior
    return model
