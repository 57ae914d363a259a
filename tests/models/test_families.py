"""What every family trained by gradient must do; to register one is to have it tested."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from jamba_ray import models
from jamba_ray.config.family import FAMILIES, TRAINERS
from jamba_ray.config.section import is_stackable
from jamba_ray.models.dropout import key_names, step_key
from jamba_ray.models.registry import BUILDERS
from tests.models.rows import rows_of, schema_of

GRADIENT = sorted(name for name, trainer in TRAINERS.items() if trainer == "gradient")

SCHEMAS = {
    "mixed": schema_of(),
    "numeric": schema_of(cardinalities=()),
    "categorical": schema_of(n_numeric=0),
    "one_feature": schema_of(n_numeric=1, cardinalities=()),
    "one_code": schema_of(n_numeric=0, cardinalities=(1,)),
}


def loss_of(logits, y):
    """The mean over heads too, where a family gives a logit for each while it trains."""
    labels = y if logits.ndim == y.ndim else y.unsqueeze(-1).expand_as(logits)
    return binary_cross_entropy_with_logits(logits, labels)


def _set_keys(model, seed=0, step=0):
    for name, buffer in model.named_buffers():
        if name in key_names(model):
            buffer.fill_(step_key(seed, step))


@pytest.mark.parametrize("family", GRADIENT)
class TestFamily:
    def test_it_has_a_builder_and_the_users_parameters(self, family):
        assert family in BUILDERS
        fields = FAMILIES[family].model_fields
        assert {"input_dim", "hidden_dim", "output_dim", "dropout_rate", "feature_layers"} <= set(
            fields
        )
        assert is_stackable(fields["dropout_rate"])
        assert not is_stackable(fields["hidden_dim"])

    @pytest.mark.parametrize("kind", sorted(SCHEMAS))
    @pytest.mark.parametrize("n", [2, 17])
    def test_one_finite_logit_per_row(self, family, kind, n):
        schema = SCHEMAS[kind]
        x_num, x_cat, _ = rows_of(schema, n)
        model = models.build(FAMILIES[family](), schema)
        for mode in (True, False):
            logits = model.train(mode)(x_num, x_cat)
            assert logits.shape[:1] == (n,)
            assert logits.ndim == 1 or (mode and logits.ndim == 2), (
                "heads are one score but in training"
            )
            assert logits.dtype == torch.float32
            assert bool(logits.isfinite().all())

    @pytest.mark.parametrize("kind", sorted(SCHEMAS))
    def test_gradient_reaches_every_parameter(self, family, kind):
        schema = SCHEMAS[kind]
        x_num, x_cat, y = rows_of(schema, 64)
        model = models.build(FAMILIES[family](dropout_rate=0.2), schema)
        # The piecewise-linear weights start at zero: one step is needed before all flow.
        loss_of(model(x_num, x_cat), y).backward()
        dead = [
            name
            for name, p in model.named_parameters()
            if p.grad is None or (not p.grad.any() and not _is_shift_before_norm(name, model))
        ]
        assert not dead

    def test_evaluation_is_deterministic_and_blind_to_the_rest_of_the_batch(self, family):
        schema = SCHEMAS["mixed"]
        x_num, x_cat, _ = rows_of(schema, 40)
        model = models.build(FAMILIES[family](dropout_rate=0.5), schema).eval()
        together = model(x_num, x_cat)
        assert torch.equal(together, model(x_num, x_cat))
        order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(model(x_num[order], x_cat[order]), together[order])
        torch.testing.assert_close(model(x_num[:1], x_cat[:1]), together[:1])

    def test_training_depends_on_the_key_alone(self, family):
        schema = SCHEMAS["mixed"]
        x_num, x_cat, _ = rows_of(schema)
        model = models.build(FAMILIES[family](dropout_rate=0.5), schema)
        out = []
        for step in (0, 1, 0):
            _set_keys(model, step=step)
            torch.manual_seed(step + 100)
            out.append(model(x_num, x_cat))
        assert torch.equal(out[0], out[2])
        assert not torch.equal(out[0], out[1])

    def test_seed_alone_decides_the_weights(self, family):
        schema = SCHEMAS["mixed"]
        section = FAMILIES[family]()
        before = torch.get_rng_state()
        a = models.build(section, schema, seed=3).state_dict()
        assert torch.equal(before, torch.get_rng_state())
        torch.manual_seed(99)
        b = models.build(section, schema, seed=3).state_dict()
        c = models.build(section, schema, seed=4).state_dict()
        assert all(torch.equal(a[name], b[name]) for name in a)
        assert any(not torch.equal(a[name], c[name]) for name in a)

    def test_state_dict_is_learned_tensors_and_running_statistics_only(self, family):
        model = models.build(FAMILIES[family](), SCHEMAS["mixed"])
        learned = {name for name, _ in model.named_parameters()}
        others = set(model.state_dict()) - learned
        assert all(
            name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in others
        )

    def test_every_column_matters_whatever_its_position(self, family):
        schema = SCHEMAS["mixed"]
        x_num, x_cat, _ = rows_of(schema, 64)
        model = models.build(FAMILIES[family](), schema, seed=0).eval()
        base = model(x_num, x_cat)
        for f in range(len(schema.numeric)):
            changed = x_num.clone()
            changed[:, f] = changed[:, f].roll(1)
            assert not torch.allclose(model(changed, x_cat), base, atol=1e-6)
        for f, cardinality in enumerate(schema.cardinalities):
            changed_cat = x_cat.clone()
            changed_cat[:, f] = (changed_cat[:, f] + 1) % cardinality
            assert not torch.allclose(model(x_num, changed_cat), base, atol=1e-6)

    def test_a_wrong_input_dim_is_one_sentence(self, family):
        with pytest.raises(models.ConfigError) as caught:
            models.build(FAMILIES[family](input_dim=20), SCHEMAS["mixed"])
        (mistake,) = caught.value.mistakes
        assert "`model.input_dim`" in mistake
        assert "(7), but is 20" in mistake
        assert models.build(FAMILIES[family](input_dim=7), SCHEMAS["mixed"]) is not None

    def test_it_is_one_graph_for_a_compiler(self, family):
        """No graph break: no Python branch on values, no step that a compiler cannot see."""
        schema = SCHEMAS["mixed"]
        x_num, x_cat, _ = rows_of(schema)
        model = models.build(FAMILIES[family](dropout_rate=0.3), schema)
        expected = model(x_num, x_cat)
        torch.compiler.reset()
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x_num, x_cat), expected)

    def test_learns_an_interaction(self, family):
        """XOR of two features, which no sum over features solves."""
        schema = schema_of(n_numeric=4, cardinalities=(3,))
        x_num, x_cat, _ = rows_of(schema, 256, seed=3)
        y = ((x_num[:, 0] > 0) ^ (x_num[:, 3] > 0)).float()
        model = models.build(FAMILIES[family](dropout_rate=0.0), schema, seed=0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for step in range(60):
            _set_keys(model, step=step)
            optimizer.zero_grad()
            loss = loss_of(model(x_num, x_cat), y)
            loss.backward()
            optimizer.step()
        assert float(loss.detach()) < 0.25


def _is_shift_before_norm(name: str, model: torch.nn.Module) -> bool:
    """A bias right before batch norm is subtracted again: its gradient is zero by construction."""
    layer, _, parameter = name.rpartition("linear.")
    if parameter != "bias" or not layer:
        return False
    return isinstance(model.get_submodule(layer + "norm"), torch.nn.BatchNorm1d)
