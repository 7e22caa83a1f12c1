"""What 20 million, 400 million and 5 billion pairs take: bytes, device-hours, network, money, and where each is bound.

    python benchmarks/plan.py [--gpus 8 64 1000] [--dollars 3]

Rates are those measured in benchmarks/results/*.json. What was not measured (prices, links between GPUs and nodes,
disks, sizes of pictures) is a field of `Assumed`, written beside the plan and told in docs/scale.md, which has the
tables that this prints. Writes benchmarks/results/plan.json.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
OUT = RESULTS / "plan.json"
SIZES = {20_000_000: 600_000_000, 400_000_000: 4_000_000_000, 5_000_000_000: 10_000_000_000}  # pairs -> samples seen
WIDTH, NUMBER = 1024, 2  # of features, and the bytes of a number
TOKENS = 257  # of a picture of 224 px in patches of 14
TIERS = {
    "CLS": WIDTH * NUMBER,
    "CLS and mean patch token": 2 * WIDTH * NUMBER,
    "CLS and a grid of 16": 17 * WIDTH * NUMBER,
    "all patch tokens": TOKENS * WIDTH * NUMBER,
    "sentence embedding": WIDTH * NUMBER,
    "all tokens of 20": 20 * WIDTH * NUMBER,
}
KEPT = TIERS["CLS and mean patch token"], TIERS["sentence embedding"]
SHARD_LIMIT = 512 << 20  # bytes of a shard, as the encoder bounds them


@dataclass(frozen=True)
class Assumed:
    """What is not measured.

    Attributes:
        dollars_per_gpu_hour, dollars_per_gb_month: prices.
        picture_bytes: of one JPEG, resized for training.
        cores_per_gpu: that decode.
        gpu_memory, host_memory: bytes for features, of one GPU and of a node with 8.
        disk: bytes a second of the local disks of a node with 8 GPUs.
        store: bytes a second that one node has from an object store.
        link_in_node, link_between: bytes a second of one GPU to others for sums of gradients.
        batch: pairs of a step, of all GPUs together.
    """

    dollars_per_gpu_hour: float = 3.0
    dollars_per_gb_month: float = 0.023
    picture_bytes: float = 30e3
    cores_per_gpu: int = 16
    gpu_memory: float = 118e9
    host_memory: float = 1e12
    disk: float = 6e9
    store: float = 2e9
    link_in_node: float = 200e9
    link_between: float = 20e9
    batch: int = 16_384


@dataclass(frozen=True)
class Rates:
    """Measured, per second.

    Attributes:
        images, texts: rows of one GPU with 16 cores, backbone ViT-L/14 and RoBERTa-large's size: the best round.
        forward: images of the bare forward pass; `decoded` those that 16 cores prepare.
        samples: that one GPU trains on, compiled, validation included.
        gradient: bytes that a step sums over GPUs.
        indexed: rows of one core.
        stage_bytes: bytes a row that each stage holds; `stage_seconds` of one core, a row.
    """

    images: float
    forward: float
    decoded: float
    texts: float
    samples: float
    gradient: float
    indexed: float
    stage_bytes: dict[str, float]
    stage_seconds: dict[str, float]

    @classmethod
    def read(cls, folder: Path = RESULTS) -> "Rates":
        """From the files of other benchmarks."""
        gpu, index, torchrun, scale = (
            json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("gpu", "index", "torchrun", "scale")
        )
        images, epochs = gpu["vit-l14"]["rows_per_second"], gpu["training"]["cls"]["epochs"]
        largest = {name: one["from_rows"][1] for name, one in scale["forecast"]["stages"].items()}
        stages = {name: (rows, scale["sizes"][str(rows)]["stages"][name]) for name, rows in largest.items()}
        return cls(
            images=max(images["ours"]),
            forward=sorted(images["forward, whole"])[1],
            decoded=sorted(images["decode"])[1],
            texts=max(gpu["roberta-large"]["rows_per_second"]["ours"]),
            samples=epochs["pairs"] / epochs["second_epoch_seconds"],
            gradient=torchrun["megabytes_summed_per_step"]["gradients"] * 1e6,
            indexed=index["readers"]["tars: index"]["1000000"]["rows_per_second"],
            stage_bytes={
                name: found["bytes_a_row"]
                for name, (_, found) in stages.items()
                if "bytes_a_row" in found and not name.startswith("compare")  # it grows until its sample is full
            },
            stage_seconds={name: found["cpu_seconds"] / rows for name, (rows, found) in stages.items()},
        )


def plan_of(pairs: int, samples: int, gpus: int, rates: Rates, assumed: Assumed) -> dict[str, Any]:
    """One size on so many GPUs: bytes, hours, what bounds each part, dollars."""
    hour = 3600.0
    nodes = max(1, math.ceil(gpus / 8))
    image_rate = rates.images * gpus
    fetched = assumed.store * nodes / assumed.picture_bytes
    encode_images = pairs / min(image_rate, fetched)
    encode_texts = pairs / (rates.texts * gpus)
    trained = training(pairs, gpus, rates, assumed)
    kept = pairs * sum(KEPT)
    gpu_hours = (encode_images + encode_texts) * gpus / hour + samples / trained["samples_per_second"] * trained[
        "gpus"
    ] / hour
    rows = shard_rows(rates)
    host = max(rates.stage_bytes.values(), default=0.0) * pairs
    return {
        "pairs": pairs,
        "gpus": gpus,
        "bytes": {name: pairs * size for name, size in TIERS.items()},
        "kept_bytes": kept,
        "picture_bytes": pairs * assumed.picture_bytes,
        "index_core_hours": pairs / rates.indexed / hour,
        "image_gpu_hours": pairs / rates.images / hour,
        "image_hours": encode_images / hour,
        "image_bound": "network" if fetched < image_rate else "decoding" if rates.decoded < rates.forward else "GPU",
        "network_in": min(image_rate, fetched) * assumed.picture_bytes,
        "text_gpu_hours": pairs / rates.texts / hour,
        "training": trained,
        "training_hours": samples / trained["samples_per_second"] / hour,
        "samples": samples,
        "gpu_hours": gpu_hours,
        "dollars": gpu_hours * assumed.dollars_per_gpu_hour,
        "dollars_a_month": kept / 1e9 * assumed.dollars_per_gb_month,
        "shard_rows": rows,
        "shards": math.ceil(pairs / rows),
        "shard_seconds": rows / rates.images,
        "host_bytes": host,
        "splits_of_24_gib": max(1, math.ceil(host / (20 * 2**30))),
    }


def training(pairs: int, gpus: int, rates: Rates, assumed: Assumed) -> dict[str, Any]:
    """Where the features lie, how fast so many GPUs train on them, and what bounds that.

    One batch is shared by all, so that more GPUs have fewer pairs each: computing falls as 1 / n, the sum of gradients
    does not. As many GPUs as are fastest are used.
    """
    needed, best = pairs * sum(KEPT), {}
    for used in sorted({1, *(n for n in (2, 4, 8, 16, 32, 64, 128) if n <= gpus)}):
        nodes = math.ceil(used / 8)
        compute = assumed.batch / rates.samples / used
        link = assumed.link_in_node if used <= 8 else assumed.link_between
        summed = 0.0 if used == 1 else 2 * rates.gradient * (used - 1) / used / link
        gathered = assumed.batch * WIDTH * 4 * (used - 1) / used / link
        where, speed = _where(needed, used, nodes, assumed)
        reading = 0.0 if speed == math.inf else assumed.batch * sum(KEPT) / (speed * nodes)
        times = {"computing": compute, "sums between GPUs": summed + gathered}
        seconds = max(sum(times.values()), reading)
        bound = "reading" if reading > sum(times.values()) else max(times, key=lambda name: times[name])
        rate = assumed.batch / seconds
        if not best or rate > 1.1 * best["samples_per_second"]:
            best = {"gpus": used, "features": where, "samples_per_second": rate, "bound": bound}
    return best


def _where(needed: float, used: int, nodes: int, assumed: Assumed) -> tuple[str, float]:
    if needed <= assumed.gpu_memory * used:
        return "on the GPUs", math.inf
    if needed <= assumed.host_memory * nodes:
        return "in host memory", 50e9
    return "streamed from disks", assumed.disk


def shard_rows(rates: Rates, least_seconds: float = 10.0) -> int:
    """Rows of a shard: the power of two that takes one GPU at least so long, within what a shard may hold."""
    wanted = 2 ** math.ceil(math.log2(rates.images * least_seconds))
    return int(min(wanted, 2 ** math.floor(math.log2(SHARD_LIMIT / KEPT[0]))))


def _bytes(count: float) -> str:
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if count >= size:
            return f"{count / size:,.3g} {unit}"
    return f"{count / 1e6:,.3g} MB"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def markdown(plans: Sequence[dict[str, Any]]) -> list[str]:
    """The tables of docs/scale.md, line by line."""
    first = list({plan["pairs"]: plan for plan in plans}.values())
    titles = [_title(plan["pairs"]) for plan in first]
    lines = ["| bytes of | a row | " + " | ".join(titles) + " |", "|---|" + "---:|" * (1 + len(titles))]
    for name, size in TIERS.items():
        lines.append(f"| {name} | {size:,} | " + " | ".join(_bytes(plan["bytes"][name]) for plan in first) + " |")
    columns = ("pairs", "GPUs", "pictures in", "encoding, hours", "bound by", "training, hours", "on", "bound by")
    lines += ["", f"| {' | '.join((*columns, 'GPU-hours', 'dollars'))} |"]
    lines += ["|---|---:|---:|---:|---|---:|---|---|---:|---:|"]
    for plan in plans:
        trained = plan["training"]
        encoding = plan["image_hours"] + plan["text_gpu_hours"] / plan["gpus"]
        lines.append(
            f"| {_title(plan['pairs'])} | {plan['gpus']:,} | {_bytes(plan['network_in'])}/s | {_number(encoding)} | "
            f"{plan['image_bound']} | {_number(plan['training_hours'])} | {trained['gpus']} GPUs, features "
            f"{trained['features']} | {trained['bound']} | {_number(plan['gpu_hours'])} | {_number(plan['dollars'])} |"
        )
    columns = ("pairs", "features kept", "a month", "pictures", "index, core-hours", "shards", "widest stage")
    lines += ["", f"| {' | '.join(columns)} |", "|---|" + "---:|" * 6]
    for plan in first:
        lines.append(
            f"| {_title(plan['pairs'])} | {_bytes(plan['kept_bytes'])} | {_number(plan['dollars_a_month'])} dollars | "
            f"{_bytes(plan['picture_bytes'])} | {_number(plan['index_core_hours'])} | {plan['shards']:,} of "
            f"{plan['shard_rows']:,} rows | {_bytes(plan['host_bytes'])} |"
        )
    return lines


def _title(pairs: int) -> str:
    return f"{pairs / 1e9:g} B" if pairs >= 1e9 else f"{pairs / 1e6:g} M"


def main() -> None:
    """Compute, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64, 1000])
    parser.add_argument("--dollars", type=float, default=Assumed.dollars_per_gpu_hour, help="of a GPU for an hour")
    given = parser.parse_args()
    rates, assumed = Rates.read(), Assumed(dollars_per_gpu_hour=given.dollars)
    plans = [plan_of(pairs, samples, gpus, rates, assumed) for pairs, samples in SIZES.items() for gpus in given.gpus]
    report = {"rates": asdict(rates), "assumed": asdict(assumed), "plans": plans}
    OUT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print("\n".join(markdown(plans)))


if __name__ == "__main__":
    main()
