"""python -m pipeline.store ls|verify|repair|gc|push, at the root of the project.

`push`, `ls` and `verify` of named stores, and `repair` of addresses (s3://bucket/prefix) run anywhere.
"""

import argparse
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.dvc_lock import keep_or_restore, require_whole
from pipeline.errors import StoreError
from pipeline.failures import exit_code
from pipeline.features.dvc_cache import stage_of
from pipeline.features.objects.check import verify_anywhere
from pipeline.features.objects.push import push
from pipeline.object_url import is_object_url, object_url
from pipeline.store.collect import collect_cache, collect_scratch
from pipeline.store.deep import ROWS, repair_deep, verify_deep
from pipeline.store.listing import Scratch, bytes_of, describe, scratch_shards, stores, unnamed
from pipeline.store.locked import Output, all_stores, is_store, locked_outputs, locked_stores, require_project
from pipeline.store.mend import mend, others
from pipeline.store.needs import needs_of
from pipeline.store.outputs import compare, compare_store
from pipeline.store.remote import repair_remote
from pipeline.store.repair import repair_all

_REPAIR_COMMAND = "python -m pipeline.store repair"
SCOPES = ("workspace", "all-branches", "all-tags", "all-commits", "all-experiments")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 if all is well, 1 if a store is damaged or something failed."""
    given = _parser().parse_args(arguments)
    return exit_code("python -m pipeline.store", lambda: _run(given))


def _run(given: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return int(given.run(given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.store", description="Feature stores of this project.")
    commands = parser.add_subparsers(required=True, metavar="ls|verify|repair|gc|push")
    for name, run, text in (
        ("ls", _ls, "what is stored, how large, by which encoder"),
        ("verify", _verify, "read every file and compare its checksum, and every output of the DAG with dvc.lock"),
        ("repair", _repair, "repair damaged stores and other outputs, in scratch and DVC's cache too"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("stores", nargs="*", type=Path, help="folders, addresses; all stores and outputs if none")
        command.set_defaults(run=run)
        if run is _repair:
            text = "a folder with the store, or a part of it, whose files are sent to its address again"
            command.add_argument("--source", type=Path, help=text)
        if run is not _ls:
            more = ", and all where these differ" if run is _repair else ""
            text = f"also encode some rows of each store again and compare{more}"
            command.add_argument("--deep", action="store_true", help=text)
            command.add_argument("--rows", type=int, default=ROWS, help=f"of each store, {ROWS} if not given")
    gc = commands.add_parser("gc", help="free what no store needs, in scratch and in DVC's cache")
    gc.add_argument("--yes", action="store_true", help="do it; without this, only report what would be freed")
    for scope in SCOPES:
        gc.add_argument(f"--{scope}", action="store_true", help=f"DVC's cache keeps what `dvc gc --{scope}` keeps")
    gc.set_defaults(run=_gc)
    text = "publish a store at an address: s3://bucket/prefix, gs://bucket/prefix, az://container/prefix"
    publish = commands.add_parser("push", help=text, description=text)
    publish.add_argument("store", type=Path, help="folder of a finished store")
    publish.add_argument("address", help="a prefix of its own")
    publish.add_argument("--replace", action="store_true", help="another store that is there is removed first")
    publish.set_defaults(run=_push)
    return parser


def _chosen(given: argparse.Namespace) -> list[Path]:
    """The stores that were named, or all that are here or in dvc.lock.

    Raises:
        StoreError: none was named, and this is not the root of a project.
        DamagedLock: none was named, and dvc.lock cannot be used.
    """
    if given.stores:
        return [Path(folder) for folder in given.stores]
    require_project()
    require_whole()
    return all_stores()


def _ls(given: argparse.Namespace) -> int:
    listed = [describe(folder) for folder in _chosen(given)]
    for one in listed:
        if not one.url and not one.folder.exists():
            print(f"{one.folder}  gone: {_gone(one.folder)}")
            continue
        metadata = "metadata intact" if one.summed else "no manifest, metadata not checked"
        state = "cannot be opened" if one.problem else f"{metadata}, shards not checked (verify reads them)"
        where = object_url(one.folder) if is_object_url(one.folder) else one.folder
        afar = f" at {one.url}" if one.url and where != one.url else ""
        print(f"{where}  {one.bytes / 1e6:.1f} MB{afar}, {state}")
        if one.problem:
            print(f"    {one.problem}")
            continue
        print(f"    {one.rows} rows ({one.failed} failed) in {one.shards} shards, by {one.encoder} [{one.digest}]")
        print(f"    {'; '.join(one.arrays)}")
    shards = scratch_shards()
    if not given.stores:
        _ls_scratch(shards)
    alone = sum(shard.alone for shard in shards)
    total = bytes_of(file for one in listed for file in one.folder.rglob("*"))
    print(f"{len(listed)} stores, {total / 1e6:.1f} MB; {alone / 1e6:.1f} MB more are held by the scratch folder alone")
    return int(any(one.problem for one in listed))


def _ls_scratch(shards: list[Scratch]) -> None:
    """Print the features that scratch holds and no store of the workspace names, a line each."""
    needs = [needs_of(folder) for folder in stores()]
    features = unnamed(needs, shards)
    if not features:
        return
    unread = sum(not need.fingerprints for need in needs)
    doubt = f", but {unread} that cannot be read may need some" if unread else ""
    print(f"only in scratch (no store here names them{doubt}):")
    wide = max(len(one.encoder) for one in features)
    for one in features:
        print(
            f"    {one.fingerprint[:12]}  {one.encoder:{wide}}  {one.shards:5d} shards  {one.rows:9d} rows  "
            f"{one.bytes / 1e6:9.1f} MB"
        )


def _gone(folder: Path) -> str:
    stage = stage_of(folder)
    if stage is None:
        return "there is no such folder, and dvc.lock lists none"
    return f"dvc.lock lists it. Bring it back with: dvc checkout {stage}, or: dvc repro {stage}"


def _verify(given: argparse.Namespace) -> int:
    chosen = _chosen(given)
    recorded = {output.path: output for output in locked_outputs()} if Path("dvc.yaml").is_file() else {}
    named = [recorded.pop(path) for path in given.stores if path in recorded and not is_store(path)]
    bad = _verify_stores([path for path in chosen if path not in {output.path for output in named}], recorded)
    if bad:
        print(f"{bad} stores are damaged or cannot be checked. Repair them with: {_REPAIR_COMMAND}")
    bad_outputs = _verify_outputs(named if given.stores else others(chosen))
    if bad_outputs:
        print(f"{bad_outputs} outputs are not as dvc.lock has them. Repair them with: {_REPAIR_COMMAND}")
    wrong = verify_deep(filter(is_store, chosen), given.rows) if given.deep else 0
    return int(bad + bad_outputs + wrong > 0)


def _verify_outputs(outputs: list[Output]) -> int:
    """Compare outputs that are no stores with dvc.lock; returns how many differ."""
    compared = [compare(output) for output in outputs]
    for one in compared:
        if not one.same:
            print(f"{one.output.path}: {one.problem} ({one.output.stage})")
            for damage in one.damages:
                print(f"    {damage}")
    bad = sum(not one.same for one in compared)
    if compared:
        print(
            f"{len(compared) - bad} outputs beside the stores are as dvc.lock has them, "
            f"{sum(one.bytes for one in compared) / 1e6:.1f} MB read"
        )
    return bad


def _verify_stores(folders: list[Path], recorded: Mapping[Path, Output]) -> int:
    """Verify stores and compare intact ones with dvc.lock; returns how many are not well."""
    bad = 0
    for folder in folders:
        remote = is_object_url(folder)
        if not remote and not folder.exists():
            bad += 1
            print(f"{folder}: gone\n    {_gone(folder)}")
            continue
        try:
            result = verify_anywhere(folder)
        except StoreError as error:
            bad += 1
            print(f"{object_url(folder) if remote else folder}: cannot be checked\n    {error}")
            continue
        bad += not result.intact
        note = "" if result.summed else "; it has no manifest, so its metadata was not checked (repair writes one)"
        state = "intact" if result.intact else f"{len(result.damages)} files damaged"
        where = object_url(folder) if remote else folder
        print(f"{where}: {state}, {result.files} files, {result.bytes / 1e6:.1f} MB read{note}")
        for damage in result.damages:
            print(f"    {damage}")
        if result.intact and folder in recorded:
            compared = compare_store(recorded[folder])
            bad += not compared.same
            if not compared.same:
                print(f"    but dvc.lock has another: {compared.problem}")
    return bad


def _repair(given: argparse.Namespace) -> int:
    addresses = [path for path in given.stores if is_object_url(path)]
    for address in addresses:
        _repair_remote(address, given.source)
    given.stores = [path for path in given.stores if path not in addresses]
    if addresses and not given.stores:
        return 0
    require_project()
    if restored := keep_or_restore():
        print(restored)
    chosen = _chosen(given)
    outputs = [output for output in locked_outputs() if output.path in given.stores and not is_store(output.path)]
    named = {output.path for output in outputs}
    outputs = outputs if given.stores else others(chosen)
    first = min((output.rank for output in locked_stores()), default=0)
    _repair_outputs([output for output in outputs if output.rank < first])  # what stores are made from
    _repair_stores([path for path in chosen if path not in named])
    _repair_outputs([output for output in outputs if output.rank >= first])
    return repair_deep(filter(is_store, chosen), given.rows) if given.deep else 0


def _repair_remote(address: Path, source: Path | None) -> None:
    done = repair_remote(address, source)
    for damage in done.damages:
        print(f"    was {damage}")
    print(f"{done.url}: {f'repaired; {len(done.sent)} objects sent again' if done.sent else 'intact'}")
    if done.foreign:
        print(f"    {len(done.foreign)} objects belong to no store and were left alone, the first {done.foreign[0]}")


def _push(given: argparse.Namespace) -> int:
    done = push(given.store, given.address, replace=given.replace)
    print(f"{done.url}: published, {done.sent} of {done.files} files sent, {done.bytes / 1e6:.1f} MB in all")
    return 0


def _repair_outputs(outputs: list[Output]) -> None:
    done = [mend(output) for output in outputs]
    for one in done:
        if one.how:
            again = "; run dvc repro for what depends on it" if one.how.startswith("dvc repro") else ""
            print(f"{one.before.output.path}: repaired by {one.how}; {len(one.cache)} cache objects replaced{again}")
            for damage in one.before.damages:
                print(f"    was {damage}")
    if intact := sum(not one.how for one in done):
        print(f"{intact} outputs beside the stores: as dvc.lock has them, also in DVC's cache")


def _repair_stores(folders: list[Path]) -> None:
    for folder, done in repair_all(folders):
        if not done.needed:
            print(f"{folder}: intact, also in scratch and in DVC's cache")
            continue
        for damage in done.damages:
            print(f"    was {damage}")
        print(f"{folder}: repaired; {len(done.scratch)} shards encoded again, {len(done.cache)} cache objects replaced")
        if done.same_bytes is False:
            print(
                "    its bytes differ from those first written: other hardware or libraries; run dvc repro for the rest"
            )


def _gc(given: argparse.Namespace) -> int:
    require_project()
    require_whole()
    scope = [f"--{name}" for name in SCOPES if getattr(given, name.replace("-", "_"))] or ["--workspace"]
    summary = collect_cache(scope, dry=not given.yes)
    print(f"DVC's cache ({' '.join(scope)}): {summary or 'nothing to free'}")
    done = collect_scratch(dry=not given.yes)
    verb = "freed" if given.yes else "would be freed"
    print(
        f"scratch: {done.bytes / 1e6:.1f} MB {verb} ({len(done.shards)} shards, {len(done.partial)} of killed runs); "
        f"{done.kept} shards stay"
    )
    for folder, process in done.held:
        print(f"{folder}: process {process} is encoding these features, so all of them stay")
    for folder in done.wary:
        print(
            f"{folder}: its list of shards cannot be trusted, so all shards of its fingerprint stay. "
            f"Repair it with: {_REPAIR_COMMAND} {folder}"
        )
    for folder in done.unknown:
        print(
            f"{folder}: neither its manifest nor its zarr.json tells whose features it holds, so no finished shard is "
            f"removed from scratch. Repair it first with: {_REPAIR_COMMAND} {folder}"
        )
    if not given.yes:
        print("Nothing was removed. Do it with: python -m pipeline.store gc --yes")
    return int(bool(done.unknown))


if __name__ == "__main__":
    raise SystemExit(main())
