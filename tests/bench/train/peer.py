"""One rank of the peer: PyTorch DDP over Gloo on the CPU, one thread, the same network, optimisers, schedule and starting weights.

Fused AdamW on the dense parameters, nn.EmbeddingBag(sparse=True) with SparseAdam on the tables, batches as contiguous slices of the shards
(no per-row loader). Tables of one width are one EmbeddingBag with offsets, which is faster than one each.

usage: RANK=… WORLD_SIZE=… MASTER_ADDR=… MASTER_PORT=… peer.py eager|compile FEATURES CONFIG.json INITIAL_MODEL OUT.json EVERY_STEPS
"""
import json
import os
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch import nn  # noqa: E402

mode, features, config, initial, out, every = sys.argv[1], Path(sys.argv[2]), json.load(open(sys.argv[3])), Path(sys.argv[4]), sys.argv[5], int(sys.argv[6])
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()


def load(split):
    shards = [load_file(p) for p in sorted((features / split).glob("*.safetensors"))]
    return {k: torch.cat([s[k] for s in shards]) for k in ("dense", "cat", "label")}


document = json.load(open(initial / "model.json"))
weights = load_file(initial / "model.safetensors")
names = [c["name"] for c in document["inputs"]["categorical"]]
ids = [c["ids"] for c in document["inputs"]["categorical"]]
widths = [weights[f"embedding.{n}.weight"].shape[1] for n in names]


class Tables(nn.Module):
    """Per width one EmbeddingBag over all features of that width, bags of one id; the linear term is one bag over all features."""

    def __init__(self):
        super().__init__()
        self.groups, self.bags = [], nn.ModuleList()
        for width in sorted(set(widths)):
            members = [i for i, w in enumerate(widths) if w == width]
            table = torch.cat([weights[f"embedding.{names[i]}.weight"] for i in members])
            starts = torch.tensor([0] + [ids[i] for i in members[:-1]]).cumsum(0)
            self.groups.append((members, starts))
            self.bags.append(nn.EmbeddingBag.from_pretrained(table.clone(), freeze=False, mode="sum", sparse=True))
        self.linear_starts = torch.tensor([0] + ids[:-1]).cumsum(0)
        linear = torch.cat([weights[f"linear.{n}.weight"] for n in names]).unsqueeze(1)
        self.linear = nn.EmbeddingBag.from_pretrained(linear.clone(), freeze=False, mode="sum", sparse=True)

    def forward(self, cat):
        parts = [None] * len(names)
        for (members, starts), bag in zip(self.groups, self.bags):
            rows = (cat[:, members] + starts).reshape(-1)
            values = bag(rows, torch.arange(rows.numel())).view(cat.shape[0], len(members), -1)
            for k, i in enumerate(members):
                parts[i] = values[:, k]
        return torch.cat(parts, 1), self.linear(cat + self.linear_starts)


class Dense(nn.Module):
    """Cross and deep layers, head, and the dense part of the linear term."""

    def __init__(self):
        super().__init__()
        network = config["network"]["dcnV2"]
        self.cross = nn.ModuleList(self.layer(f"cross.{i}") for i in range(network["crossLayers"]))
        self.deep = nn.ModuleList(self.layer(f"deep.{i}") for i in range(len(network["deep"])))
        head = torch.cat([weights["head.cross.weight"], weights["head.deep.weight"]])
        self.head = nn.Linear(head.numel(), 1)
        self.dense = nn.Linear(weights["linear.dense.weight"].numel(), 1, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(head.unsqueeze(0))
            self.head.bias.copy_(weights["head.bias"])
            self.dense.weight.copy_(weights["linear.dense.weight"].unsqueeze(0))

    @staticmethod
    def layer(name):
        w = weights[f"{name}.weight"]
        layer = nn.Linear(w.shape[1], w.shape[0])
        with torch.no_grad():
            layer.weight.copy_(w)
            layer.bias.copy_(weights[f"{name}.bias"])
        return layer

    def forward(self, embedded, linear, dense):
        x0 = torch.cat([embedded, dense], 1)
        x, h = x0, x0
        for layer in self.cross:
            x = x0 * layer(x) + x
        for layer in self.deep:
            h = torch.relu(layer(h))
        return (self.head(torch.cat([x, h], 1)) + self.dense(dense) + linear).squeeze(1)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.tables, self.dense = Tables(), Dense()

    def forward(self, dense, cat):
        embedded, linear = self.tables(cat)
        return self.dense(embedded, linear, dense)


train, validation = load("train"), load("validation")
for split in (train, validation):
    split["cat"] = split["cat"].long()
net = Network()
if mode == "compile":
    net.dense.compile()
ddp = nn.parallel.DistributedDataParallel(net)
o = config["optimizers"]
adamw, sparse = o["dense"]["adamw"], o["embeddings"]["sparseAdam"]
optimizers = [
    torch.optim.AdamW(net.dense.parameters(), lr=adamw["lr"], betas=tuple(adamw["betas"]), eps=adamw["eps"], weight_decay=adamw["weightDecay"], fused=True),
    torch.optim.SparseAdam(list(net.tables.parameters()), lr=sparse["lr"]),
]
batch, rows = config["batch"]["global"], len(train["label"])
steps_per_epoch = -(-rows // batch)
total = steps_per_epoch * config["epochs"]
schedule = config["schedule"]


def factor(step):
    f = min(1.0, (step + 1) / schedule["warmupSteps"])
    for at in schedule["decay"]["steps"]["at"]:
        if step >= at * total:
            f *= schedule["decay"]["steps"]["factor"]
    return f


schedulers = [torch.optim.lr_scheduler.LambdaLR(x, factor) for x in optimizers]
loss_of = nn.BCEWithLogitsLoss()


def share(n):
    return n * rank // world, n * (rank + 1) // world


def validate():
    begin, end = share(len(validation["label"]))
    total_loss = torch.zeros(1, dtype=torch.float64)
    with torch.no_grad():
        for at in range(begin, end, batch):
            stop = min(at + batch, end)
            z = net(validation["dense"][at:stop], validation["cat"][at:stop])
            total_loss += nn.functional.binary_cross_entropy_with_logits(z.double(), validation["label"][at:stop, 0].double(), reduction="sum")
    dist.all_reduce(total_loss)
    return total_loss.item() / len(validation["label"])


def step(n):
    at = n % steps_per_epoch * batch
    rows_here = min(batch, rows - at)
    begin, end = share(rows_here)
    begin, end = at + begin, at + end
    z = ddp(train["dense"][begin:end], train["cat"][begin:end])
    loss = loss_of(z, train["label"][begin:end, 0])
    for x in optimizers:
        x.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.dense.parameters(), config["clip"]["globalNorm"])
    for x, s in zip(optimizers, schedulers):
        x.step()
        s.step()


if mode == "compile":  # compilation is not counted: both graphs, of whole and last batches
    state = {k: v.clone() for k, v in net.state_dict().items()}
    for rows_here in sorted({batch, rows % batch or batch}):
        begin, end = share(rows_here)
        loss_of(ddp(train["dense"][begin:end], train["cat"][begin:end]), train["label"][begin:end, 0]).backward()
    validate()
    net.zero_grad(set_to_none=True)
    net.load_state_dict(state)

points, step_seconds = [], 0.0
dist.barrier()
start = time.monotonic()
for n in range(total):
    began = time.monotonic()
    step(n)
    step_seconds += time.monotonic() - began
    if (n + 1) % every == 0 or n + 1 == total:
        points.append({"step": n + 1, "logloss": validate(), "seconds": time.monotonic() - start})
if rank == 0:
    result = {"points": points, "samples_per_second": rows * config["epochs"] / step_seconds, "seconds": time.monotonic() - start,
              "parameters": sum(p.numel() for p in net.parameters())}
    Path(out).write_text(json.dumps(result))
dist.barrier()
os._exit(0)  # Gloo's threads sometimes abort the process while PyTorch tears them down; everything is written
