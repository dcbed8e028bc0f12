"""`from_pretrained` and `save_pretrained` of the pipeline: safetensors and JSON only, no code is run."""

import os
from typing import Any, Self

import torch

from diffusionad.loading.pretrained import load_parts, resolve_dtype


class PretrainedMixin:
    """Loads and saves a pipeline in one form: JSON, and one safetensors file a network."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *,
        dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        torch_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        variant: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike | None = None,
        local_files_only: bool = False,
        **settings: Any,
    ) -> Self:
        """Load a saved pipeline; only JSON and safetensors are read, no code is run.

        Args:
            pretrained_model_name_or_path: a folder, the id of a repository on the Hub ("org/name"), or the
                name of an embedded model ("fabric").
            dtype: of the networks, or of each by its name with "default" for the others; None is float32.
            torch_dtype: the former name of `dtype`, deprecated as in diffusers.
            variant: "fp16" loads `diffusion_pytorch_model.fp16.safetensors`.
            revision: branch, tag or commit on the Hub.
            token: for private repositories; None uses the one that is logged in.
            cache_dir: where downloads are kept.
            local_files_only: use what is in the cache and never the network.
            settings: saved settings to override, such as `threshold=0.4`, or components, such as
                `mark_memory=None`.

        Returns:
            The pipeline on the CPU.

        Raises:
            FileNotFoundError: no such repository or revision, or a file is missing; the message says which.
            PermissionError: the repository is gated.
            OSError: the Hub did not deliver.
            ValueError: another kind of model, damaged files, or an argument or setting that is unknown.
        """
        parts, saved, overrides = load_parts(
            cls,
            pretrained_model_name_or_path,
            resolve_dtype(dtype, torch_dtype),
            variant,
            settings,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        pipeline: Any = cls(**parts, **saved)
        return pipeline.configure(**overrides) if overrides else pipeline

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Save the components and settings, in the form that `from_pretrained` reads.

        Args:
            save_directory: made when it does not exist.
            safe_serialization: True; nothing but safetensors can be loaded again.
            variant: "fp16" names the weights `diffusion_pytorch_model.fp16.safetensors`.
            max_shard_size: None; weights are one file a network.
            push_to_hub: False; `diffusionad push` publishes, with figures and a licence.
            kwargs: none is known.

        Raises:
            ValueError: an argument that asks for another form.
        """
        if not safe_serialization:
            raise ValueError("`safe_serialization` is False; only safetensors can be loaded again: leave it.")
        if max_shard_size is not None:
            raise ValueError(
                "`max_shard_size` is set, but weights in shards cannot be loaded again: leave it."
            )
        if push_to_hub:
            self.push_to_hub()
        if kwargs:
            raise ValueError(f"`{next(iter(kwargs))}` is no argument of `save_pretrained`; leave it out.")
        super().save_pretrained(str(save_directory), variant=variant)  # type: ignore[misc]

    def push_to_hub(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: a published model carries its figures and the licence of its training pictures.

        Raises:
            ValueError: always; the message names the command that publishes.
        """
        raise ValueError(
            "`push_to_hub` would publish a model without its figures and the licence of its pictures; "
            "publish the training run: diffusionad push --run RUN --repo-id ORG/NAME."
        )
