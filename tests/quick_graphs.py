"""Spares Beam what takes much of the time of a small build, of which the tests run hundreds."""

import bz2
import gc
from collections.abc import Callable
from functools import lru_cache, partial
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

Replace = Callable[[object, str, object], None]


def quicken(replace: Replace) -> None:
    """Replace functions of Beam by quicker ones; a build has the same results.

    Beam compresses each step of a graph at the highest level, and decompresses it for every bundle. To measure what it
    caches of a side input, it goes through the names of all modules; the limit of that cache is far from what tests hold.

    Args:
        replace: sets an attribute, such as `setattr`.
    """
    from apache_beam.internal import cloudpickle_pickler
    from apache_beam.runners.worker import statecache

    remembered = lru_cache(maxsize=512)
    compress = remembered(partial(bz2.compress, compresslevel=1))
    quick_bz2 = SimpleNamespace(
        compress=lambda data, compresslevel: compress(data), decompress=remembered(bz2.decompress)
    )
    replace(cloudpickle_pickler, "bz2", quick_bz2)
    replace(statecache, "get_deep_size", lambda *objects: len(objects))
    _quicken_construction(replace)
    _quicken_bundles(replace)


def _quicken_construction(replace: Replace) -> None:
    """Spare the construction of a graph what is only used in the texts of errors, or found out again at each step."""
    from apache_beam.internal import pickler
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.transforms import core, ptransform
    from apache_beam.typehints import decorators

    hints = decorators.IOTypeHints
    # Where a type hint comes from: a traceback for each.
    replace(hints, "_make_origin", staticmethod(lambda bases, tb=True, msg=(): [*msg]))
    # What follows from a function's signature, and from its source for a warning.
    replace(hints, "from_callable", staticmethod(_by_function(hints.from_callable)))
    replace(decorators, "get_signature", _by_function(decorators.get_signature))
    check = _by_function(core._check_fn_use_yield_and_return)
    replace(core, "_check_fn_use_yield_and_return", check)
    # Whether a step can be pickled: the graph that runs has all of them pickled.
    once = SimpleNamespace(dumps=pickler.dumps, loads=pickler.loads, roundtrip=lambda step: step)
    replace(ptransform, "pickler", once)
    # Beam also goes through the methods of the options, whose names do not count.
    listed = lambda self: sorted(vars(self._visible_options))  # noqa: E731
    replace(PipelineOptions, "_visible_option_list", listed)


def _by_function(find: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Remember what is found out about a function or method; the methods of all objects of a class have the same."""
    known: WeakKeyDictionary[FunctionType, dict[bool, Any]] = WeakKeyDictionary()

    def found(f: Any) -> Any:
        bound = isinstance(f, MethodType)
        function = f.__func__ if bound else f
        if not isinstance(function, FunctionType):
            return find(f)
        of_function = known.setdefault(function, {})
        if bound not in of_function:
            of_function[bound] = find(f)
        return of_function[bound]

    return found


def _quicken_bundles(replace: Replace) -> None:
    """Give a bundle the collections of its own steps only, and copy the coders of a graph outside Python.

    Beam copies the description of the whole graph three times for each of about a hundred bundles.
    """
    from apache_beam.portability.api import beam_fn_api_pb2, beam_runner_api_pb2
    from apache_beam.runners import pipeline_context
    from apache_beam.runners.portability.fn_api_runner import execution

    descriptor = beam_fn_api_pb2.ProcessBundleDescriptor
    begin = pipeline_context.PipelineContext.__init__

    def describe(self: Any) -> Any:
        components = self.execution_context.pipeline_components
        made = descriptor(
            id=self.bundle_uid,
            state_api_service_descriptor=self.state_api_service_descriptor(),
            timer_api_service_descriptor=self.data_api_service_descriptor(),
        )
        _copy_shared(components, made)
        for step in self.stage.transforms:
            made.transforms[step.unique_name].CopyFrom(step)
            for name in (*step.inputs.values(), *step.outputs.values()):
                made.pcollections[name].CopyFrom(components.pcollections[name])
        return made

    def begin_context(self: Any, proto: Any = None, *more: Any, **named: Any) -> None:
        if isinstance(proto, descriptor):
            whole, proto = proto, beam_runner_api_pb2.Components()
            _copy_shared(whole, proto)
        begin(self, proto, *more, **named)

    replace(execution.BundleContextManager, "_build_process_bundle_descriptor", describe)
    replace(pipeline_context.PipelineContext, "__init__", begin_context)


def _copy_shared(whole: Any, part: Any) -> None:
    """Copy what the steps of a graph share."""
    for name in ("coders", "windowing_strategies", "environments"):
        getattr(part, name).MergeFrom(getattr(whole, name))


def rest_collector() -> None:
    """Make the collector rare, and take out of its way what stays for ever: modules and collected tests.

    Otherwise it takes a seventh of the time of a small build.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
