"""The training loop of all peers: the same modules in plain eager fp32 PyTorch.

What a careful user writes: rows on the device, batches by index rather than a ``DataLoader``,
``torch.optim.AdamW`` (fused on a GPU, where TF32 is on), warm-up and cosine, clipping, validation
without gradients in chunks that fit the cache. jamba_ray's own dropout is replaced by
``nn.Dropout``, which is the faster one in an eager loop.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator

import torch
from scipy.special import expit
from torch import nn

from jamba_ray.config.run import TrialConfig
from jamba_ray.data.prepared import PreparedData
from jamba_ray.evaluation import value_of
from jamba_ray.models import build
from jamba_ray.models.dropout import Dropout, step_key
from jamba_ray.training.schedule import batch_progress, lr_factor

CHUNK_ROWS = {"cpu": 1024, "cuda": 65536}


def train(
    config: TrialConfig,
    data: PreparedData,
    n_reports: int,
    *,
    device: str,
    threads: int,
    prepare: Callable[[nn.Module], nn.Module] | None = None,
) -> Iterator[dict[str, float]]:
    """Train one trial, its model moved to the device by ``prepare`` (Ray Train's).

    Yields, at ``n_reports`` equal distances, ``value`` (average precision on the validation rows
    now), ``best`` (so far), ``rows``, ``step_s`` (spent in steps) and ``at`` (Unix seconds).
    """
    torch.set_num_threads(threads)
    torch.manual_seed(config.seed)
    torch.set_float32_matmul_precision("high" if device == "cuda" else "highest")
    section = config.training
    model = _with_torch_dropout(build(config.model, data.schema, seed=config.seed))
    model = model.to(device) if prepare is None else prepare(model)
    masking = [m for m in model.modules() if isinstance(m, Dropout)]
    fused = device == "cuda"
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=section.learning_rate,
        weight_decay=section.weight_decay,
        fused=fused or None,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        x_num, x_cat, y = (
            torch.from_numpy(a).to(device)
            for a in (data.train.x_num, data.train.x_cat, data.train.y)
        )
        val_num, val_cat = (
            torch.from_numpy(a).to(device) for a in (data.val.x_num, data.val.x_cat)
        )
    size = section.batch_size
    per_epoch = len(y) // size
    n_batches = max(n_reports, round(section.epochs * len(y) / size))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: lr_factor(batch_progress(min(i, n_batches - 1), n_batches), section.warmup),
    )
    loss_of = nn.BCEWithLogitsLoss()
    due = {round(k * n_batches / n_reports) for k in range(1, n_reports + 1)}
    best, step_s, begun = 0.0, 0.0, time.perf_counter()
    for batch in range(n_batches):
        if batch % per_epoch == 0:
            order = torch.randperm(len(y), device=device)
        at = batch % per_epoch * size
        index = order[at : at + size]
        for mask in masking:
            mask.key.fill_(step_key(config.seed, batch))
        loss = loss_of(model(x_num[index], x_cat[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), section.grad_clip)
        optimizer.step()
        schedule.step()
        if batch + 1 not in due:
            continue
        if device == "cuda":
            torch.cuda.synchronize()
        step_s += time.perf_counter() - begun
        value = _judge(model, val_num, val_cat, data.val.y, device)
        best = max(best, value)
        yield {
            "value": value,
            "best": best,
            "rows": float((batch + 1) * size),
            "step_s": step_s,
            "at": time.time(),
        }
        begun = time.perf_counter()


def _judge(model: nn.Module, x_num, x_cat, y, device: str) -> float:
    size = CHUNK_ROWS[device]
    model.eval()
    with torch.inference_mode():
        logits = [
            model(x_num[i : i + size], x_cat[i : i + size]) for i in range(0, len(x_num), size)
        ]
        scores = torch.cat(logits).double().cpu().numpy()
    model.train()
    return float(value_of("average_precision", y, expit(scores)))


def _with_torch_dropout(module: nn.Module) -> nn.Module:
    """Feature masking, which hides a value and not its token, has no like in torch and stays."""
    for name, child in module.named_children():
        if isinstance(child, Dropout) and name != "masking":
            setattr(module, name, nn.Dropout(float(child.rate)))
        else:
            _with_torch_dropout(child)
    return module
