from dataclasses import replace

import pytest
from apache_beam.options.pipeline_options import DirectOptions
from pieces import spec_of

from heterrec_pipeline.building import BuildConfig
from heterrec_pipeline.runtime import flags
from heterrec_schemas.errors import CallError


def test_beams_flags_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    config = BuildConfig(spec_of(), "", "in", "out", ["--direct_num_workers=3"])
    assert config.options.view_as(DirectOptions).direct_num_workers == 3
    monkeypatch.delattr(flags, "CachingOptions")
    assert replace(config, input="elsewhere").options is config.options
    given = BuildConfig(spec_of(), "", "in", "out", options=config.options)
    assert given.options is config.options


def test_a_wrong_flag_is_refused_with_the_config() -> None:
    with pytest.raises(CallError, match="Beam has no flag --nonsense"):
        BuildConfig(spec_of(), "", "in", "out", ["--nonsense"])
