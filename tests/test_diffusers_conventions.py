"""What diffusers users expect of a pipeline, in the manner of diffusers' own common pipeline tests.

Conventions that make no sense here are declined in one sentence, which is tested as well; docs/design.md says
why.
"""

import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from comparing import assert_same

from diffusionad import DiffusionADOutput, DiffusionADPipeline


def test_a_tuple_holds_the_fields_of_the_output(tiny_pipeline, make_pictures):
    pictures = make_pictures(2)
    output = tiny_pipeline(pictures)
    values = tiny_pipeline(pictures, return_dict=False)
    assert isinstance(values, tuple) and len(values) == len(output.keys())
    for value, (name, expected) in zip(values, output.items(), strict=True):
        if name not in ("timings", "picture"):
            np.testing.assert_equal(value, expected)


def test_the_output_is_read_by_name_key_and_index(tiny_pipeline, make_pictures):
    output = tiny_pipeline(make_pictures(1))
    assert isinstance(output, DiffusionADOutput)
    assert output["score"] is output.score
    assert output[0].score == output.score[0]


def test_a_saved_pipeline_gives_the_same_bits(tiny_pipeline, make_pictures, tmp_path: Path):
    pictures = make_pictures(2)
    tiny_pipeline.save_pretrained(tmp_path)
    loaded = DiffusionADPipeline.from_pretrained(tmp_path)
    assert loaded.config.calibration == tiny_pipeline.config.calibration
    assert_same(loaded(pictures), tiny_pipeline(pictures))


def test_components_build_an_equal_pipeline(tiny_pipeline, make_pictures):
    settings = tiny_pipeline.settings()
    again = DiffusionADPipeline(**tiny_pipeline.components, **settings)
    assert_same(again(make_pictures(1)), tiny_pipeline(make_pictures(1)))


def test_from_pipe_shares_the_components_and_keeps_the_settings(tiny_pipeline, make_pictures):
    again = DiffusionADPipeline.from_pipe(tiny_pipeline)
    assert again.unet is tiny_pipeline.unet
    assert again.settings() == tiny_pipeline.settings()
    assert_same(again(make_pictures(1)), tiny_pipeline(make_pictures(1)))


def test_optional_components_may_be_absent(tiny_pipeline, tmp_path: Path):
    assert DiffusionADPipeline._optional_components == ["feature_memory", "mark_memory"]
    tiny_pipeline.save_pretrained(tmp_path)
    loaded = DiffusionADPipeline.from_pretrained(tmp_path)
    assert loaded.mark_memory is None and loaded.feature_memory is None


def test_the_call_takes_the_arguments_that_its_signature_names():
    parameters = inspect.signature(DiffusionADPipeline.__call__).parameters
    assert {"image", "generator", "output_type", "return_dict", "num_inference_steps"} <= set(parameters)
    assert not any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def test_to_moves_all_networks_to_a_dtype(fresh_pipeline, make_pictures):
    fresh_pipeline.to(torch.bfloat16)
    assert fresh_pipeline.unet.dtype == fresh_pipeline.segmenter.dtype == torch.bfloat16
    assert np.isfinite(fresh_pipeline(make_pictures(1)).score).all()


def test_a_dtype_can_be_given_by_component(tiny_model_folder):
    loaded = DiffusionADPipeline.from_pretrained(
        tiny_model_folder, dtype={"unet": torch.bfloat16, "default": torch.float32}
    )
    assert (loaded.unet.dtype, loaded.segmenter.dtype) == (torch.bfloat16, torch.float32)
    rest_in_float32 = DiffusionADPipeline.from_pretrained(tiny_model_folder, dtype={"unet": torch.bfloat16})
    assert rest_in_float32.segmenter.dtype == torch.float32


def test_torch_dtype_works_and_is_deprecated(tiny_model_folder):
    with pytest.warns(FutureWarning, match="`torch_dtype` is deprecated; use `dtype`"):
        loaded = DiffusionADPipeline.from_pretrained(tiny_model_folder, torch_dtype=torch.bfloat16)
    assert loaded.unet.dtype == torch.bfloat16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DiffusionADPipeline.from_pretrained(tiny_model_folder, dtype=torch.bfloat16)


def test_offloaded_networks_are_put_back_after_each_call(fresh_pipeline, make_pictures, monkeypatch):
    freed = []
    real = DiffusionADPipeline.maybe_free_model_hooks
    monkeypatch.setattr(
        DiffusionADPipeline, "maybe_free_model_hooks", lambda self: freed.append(1) or real(self)
    )
    fresh_pipeline(make_pictures(2))
    fresh_pipeline.intermediates(make_pictures(1)[0])
    assert freed == [1, 1]


def test_networks_offloaded_by_accelerate_give_the_same_bits(fresh_pipeline, make_pictures):
    expected = fresh_pipeline(make_pictures(2))
    fresh_pipeline.enable_model_cpu_offload(device="cpu")
    assert len(fresh_pipeline._all_hooks) == 2  # unet and segmenter, in the order of model_cpu_offload_seq
    for _ in range(2):
        assert_same(fresh_pipeline(make_pictures(2)), expected)


def test_the_progress_bar_can_be_configured(fresh_pipeline, make_pictures, capfd):
    fresh_pipeline.set_progress_bar_config(disable=True)
    fresh_pipeline(make_pictures(3), batch_size=1)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("dtype", ["float16", 16, {"unet": "float16"}])
def test_a_dtype_that_is_none_of_torch_is_refused(tiny_model_folder, dtype):
    with pytest.raises(ValueError, match=r"`dtype` is .*; give a torch dtype such as torch\.float16"):
        DiffusionADPipeline.from_pretrained(tiny_model_folder, dtype=dtype)


def test_a_dtype_for_a_component_that_does_not_exist_is_refused(tiny_model_folder):
    with pytest.raises(ValueError, match="`dtype` names 'vae'; use one of unet, scheduler, segmenter"):
        DiffusionADPipeline.from_pretrained(tiny_model_folder, dtype={"vae": torch.float16})


def test_both_names_of_the_dtype_at_once_are_refused(tiny_model_folder):
    with pytest.raises(ValueError, match="`dtype` and `torch_dtype` are both given"):
        DiffusionADPipeline.from_pretrained(tiny_model_folder, dtype=torch.float16, torch_dtype=torch.float16)


@pytest.mark.parametrize(
    "argument, words",
    [
        (
            {"device_map": "balanced"},
            r"`device_map` is not taken: load the pipeline, then call `\.to\(device\)`",
        ),
        ({"trust_remote_code": True}, "`trust_remote_code` is not taken: no code of a repository is run"),
        ({"use_safetensors": False}, "`use_safetensors` is not taken: nothing but safetensors is ever read"),
        ({"custom_pipeline": "x"}, "`custom_pipeline` is not taken: no code of a repository is run"),
        ({"nonsense": 1}, "`nonsense` is no setting of the pipeline; use one of"),
    ],
)
def test_arguments_of_diffusers_loader_that_are_declined_say_why(tiny_model_folder, argument, words):
    with pytest.raises(ValueError, match=words):
        DiffusionADPipeline.from_pretrained(tiny_model_folder, **argument)


def test_a_list_of_generators_is_refused_with_the_reason(tiny_pipeline, make_pictures):
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    with pytest.raises(ValueError, match=r"`generator` is a list; .* all pictures of a call get the same"):
        tiny_pipeline(make_pictures(2), generator=generators)


@pytest.mark.parametrize(
    "argument, words",
    [
        (
            {"safe_serialization": False},
            "`safe_serialization` is False; only safetensors can be loaded again",
        ),
        ({"max_shard_size": "1MB"}, "`max_shard_size` is set, but weights in shards cannot be loaded again"),
        ({"push_to_hub": True}, "diffusionad push --run RUN --repo-id ORG/NAME"),
        ({"use_flashpack": True}, "`use_flashpack` is no argument of `save_pretrained`"),
    ],
)
def test_saving_in_a_form_that_cannot_be_loaded_is_refused(tiny_pipeline, tmp_path, argument, words):
    with pytest.raises(ValueError, match=words):
        tiny_pipeline.save_pretrained(tmp_path / "model", **argument)
    assert not (tmp_path / "model").exists()


def test_push_to_hub_names_the_command_that_publishes_with_figures(tiny_pipeline):
    with pytest.raises(ValueError, match="without its figures and the licence"):
        tiny_pipeline.push_to_hub("org/name")


def test_a_variant_that_was_not_saved_is_named(tiny_model_folder):
    with pytest.raises(FileNotFoundError, match=r"diffusion_pytorch_model\.fp16\.safetensors` is missing"):
        DiffusionADPipeline.from_pretrained(tiny_model_folder, variant="fp16")


def test_an_embedded_model_is_found_by_its_name():
    assert DiffusionADPipeline.from_pretrained("fabric").config.category == "fabric"


def test_a_near_miss_lists_the_embedded_models():
    with pytest.raises(FileNotFoundError, match="nor an embedded model; those are fabric, washer"):
        DiffusionADPipeline.from_pretrained("fabrik")
