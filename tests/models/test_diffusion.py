"""The process against diffusers' schedulers, and the identities that the paper's equations imply."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from sdseg.config.inference import Inference
from sdseg.config.noise_process import Diffusion
from sdseg.models import diffusion
from sdseg.models.sampling import ReverseProcess

SETTINGS = Diffusion(loss_noise=1.0)


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn(2, 3, 4, 5, 5, generator=generator)
    return clean, noise


SCHEDULES = {
    "scaled_linear": "scaled_linear",
    "quadratic": "scaled_linear",
    "linear": "linear",
    "cosine": "squaredcos_cap_v2",
}


@pytest.mark.parametrize(("schedule", "name"), SCHEDULES.items())
def test_schedule_is_that_of_diffusers(schedule: str, name: str) -> None:
    settings = Diffusion.model_validate({"schedule": schedule})
    theirs = DDPMScheduler(beta_start=0.0015, beta_end=0.0155, beta_schedule=name).alphas_cumprod
    torch.testing.assert_close(diffusion.alphas_cumprod(settings).float(), theirs, rtol=1e-5, atol=1e-7)


def test_last_alpha_bar_amplifies_noise_errors_as_in_the_official_code() -> None:
    last = float(diffusion.alphas_cumprod(SETTINGS)[-1])
    assert last == pytest.approx(6.69e-4, rel=1e-3)
    assert (1 / last - 1) ** 0.5 == pytest.approx(38.7, rel=2e-3)


def test_adding_noise_is_that_of_diffusers() -> None:
    clean, noise = example()
    timesteps = torch.tensor([0, 500, 999])
    theirs = DDPMScheduler(beta_start=0.0015, beta_end=0.0155, beta_schedule="scaled_linear")
    alpha_bar = diffusion.alphas_cumprod(SETTINGS).float()[timesteps].view(-1, 1, 1, 1)
    torch.testing.assert_close(
        diffusion.add_noise(clean, noise, alpha_bar), theirs.add_noise(clean, noise, timesteps), rtol=1e-4, atol=1e-5
    )


THEIRS = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}


@pytest.mark.parametrize(("kind", "theirs"), THEIRS.items())
@pytest.mark.parametrize("timestep", [1, 400, 999])
def test_one_step_estimate_is_that_of_ddim(kind: str, theirs: str, timestep: int) -> None:
    prediction, noisy = example()
    scheduler = DDIMScheduler(
        beta_start=0.0015, beta_end=0.0155, beta_schedule="scaled_linear", prediction_type=theirs, clip_sample=False
    )
    scheduler.set_timesteps(1000)
    expected = scheduler.step(prediction, timestep, noisy).pred_original_sample
    alpha_bar = diffusion.alphas_cumprod(SETTINGS).float()[timestep]
    found = diffusion.clean_latent(prediction, noisy, alpha_bar, kind)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@given(st.integers(0, 999), st.integers(0, 50), st.sampled_from(["x0", "epsilon", "v"]))
def test_estimates_undo_the_adding_of_noise(timestep: int, seed: int, kind: str) -> None:
    clean, noise = (value.double() for value in example(seed))
    alpha_bar = diffusion.alphas_cumprod(SETTINGS)[timestep].view(1, 1, 1, 1)
    noisy = diffusion.add_noise(clean, noise, alpha_bar)
    truth = {"x0": clean, "epsilon": noise, "v": diffusion.velocity(clean, noise, alpha_bar)}[kind]
    torch.testing.assert_close(diffusion.clean_latent(truth, noisy, alpha_bar, kind), clean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(diffusion.noise_estimate(truth, noisy, alpha_bar, kind), noise, rtol=1e-6, atol=1e-6)


@given(st.integers(0, 999))
def test_latent_loss_is_the_noise_loss_weighted_by_the_timestep(timestep: int) -> None:
    """For ε prediction L_latent = √(1/ᾱ − 1) · L_noise (method notes): two definitions, one number."""
    clean, noise = (value.double() for value in example())
    settings = Diffusion(prediction="epsilon", loss_noise=1.0)
    alpha_bar = diffusion.alphas_cumprod(settings)[timestep].view(1, 1, 1, 1)
    noisy = diffusion.add_noise(clean, noise, alpha_bar)
    terms = diffusion.losses(noise + 0.3 * clean, clean, noise, noisy, alpha_bar, settings)
    weight = float((1 / alpha_bar - 1).sqrt())
    assert float(terms["latent"]) == pytest.approx(weight * float(terms["noise"]), rel=1e-9)


def test_only_losses_with_a_weight_are_computed() -> None:
    clean, noise = example()
    alpha_bar = torch.full((3, 1, 1, 1), 0.5)
    assert set(diffusion.losses(clean, clean, noise, clean, alpha_bar, Diffusion())) == {"latent"}


def test_timesteps_cover_the_whole_process_or_its_last_step() -> None:
    uniform = torch.linspace(0, 1, 100_001, dtype=torch.float64)[:-1]
    drawn = diffusion.draw_timesteps(uniform, Diffusion())
    assert torch.equal(drawn.unique(), torch.arange(1000))
    assert drawn.bincount().float().std() < 1
    assert torch.equal(diffusion.draw_timesteps(uniform[:3], Diffusion(train_timesteps="last")), torch.full((3,), 999))


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize(("steps", "spacing"), [(1, "trailing"), (7, "trailing"), (15, "trailing"), (10, "leading")])
def test_a_whole_walk_is_that_of_diffusers(steps: int, spacing: str, sampler: str) -> None:
    """LDSeg's schedule and target; the noise on the way is what their generator draws."""
    process = Diffusion.model_validate({"schedule": "cosine", "prediction": "v", "inference_noise": "gaussian"})
    process = process.model_copy(update={"spacing": spacing})
    sampling = ReverseProcess(process, Inference(steps=steps, sampler=sampler))  # type: ignore[arg-type]
    kind: Any = DDIMScheduler if sampler == "ddim" else DDPMScheduler
    more = {"set_alpha_to_one": spacing == "trailing"} if sampler == "ddim" else {}
    scheduler = kind(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
        timestep_spacing=spacing,
        steps_offset=1 if spacing == "leading" else 0,
        **more,
    )
    scheduler.set_timesteps(steps)
    start = expected = torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    theirs, ours = (torch.Generator().manual_seed(1) for _ in range(2))
    for timestep in scheduler.timesteps:
        drawn = {"generator": theirs} if sampler == "ddpm" else {}
        expected = scheduler.step(torch.cos(expected + timestep / 500), timestep, expected, **drawn).prev_sample
    noises = [torch.randn(2, 1, 3, 4, generator=ours) for _ in range(sampling.noises - 1)]
    assert len(noises) == (steps - 1 if sampler == "ddpm" else 0)
    alphas = diffusion.alphas_cumprod(process).float()
    ended = sampling(lambda latent, timestep: torch.cos(latent + timestep / 500), start, noises, alphas)
    torch.testing.assert_close(ended, expected, rtol=2e-4, atol=2e-5)


def test_zero_terminal_snr_is_that_of_diffusers() -> None:
    settings = Diffusion(zero_terminal_snr=True)
    theirs = DDIMScheduler(
        beta_start=0.0015, beta_end=0.0155, beta_schedule="scaled_linear", rescale_betas_zero_snr=True
    ).alphas_cumprod
    ours = diffusion.alphas_cumprod(settings)
    torch.testing.assert_close(ours.float(), theirs, rtol=1e-4, atol=1e-6)
    assert float(ours[-1]) == 0.0
    assert float(ours[0]) == pytest.approx(float(diffusion.alphas_cumprod(SETTINGS)[0]), rel=1e-12)


def test_velocity_is_that_of_diffusers() -> None:
    clean, noise = example()
    timesteps = torch.tensor([0, 500, 999])
    theirs = DDPMScheduler(beta_start=0.0015, beta_end=0.0155, beta_schedule="scaled_linear")
    alpha_bar = diffusion.alphas_cumprod(SETTINGS).float()[timesteps].view(-1, 1, 1, 1)
    expected = theirs.get_velocity(clean, noise, timesteps)
    torch.testing.assert_close(diffusion.velocity(clean, noise, alpha_bar), expected, rtol=1e-4, atol=1e-5)


@given(st.integers(0, 999), st.integers(0, 50), st.sampled_from(["x0", "v"]))
def test_losses_vanish_for_the_truth_whatever_is_predicted(timestep: int, seed: int, kind: str) -> None:
    clean, noise = (value.double() for value in example(seed))
    settings = Diffusion.model_validate({"prediction": kind, "loss_noise": 1, "loss_velocity": 1})
    alpha_bar = diffusion.alphas_cumprod(settings)[timestep].view(1, 1, 1, 1)
    noisy = diffusion.add_noise(clean, noise, alpha_bar)
    truth = {"x0": clean, "v": diffusion.velocity(clean, noise, alpha_bar)}[kind]
    terms = diffusion.losses(truth, clean, noise, noisy, alpha_bar, settings)
    assert set(terms) == {"noise", "latent", "velocity"}
    assert max(float(term) for term in terms.values()) < 1e-9


def reference(kind: str, spacing: str, steps: int, zero_terminal_snr: bool) -> DDIMScheduler:
    """diffusers' scheduler, on our ᾱ in double precision: its own is single, and rounding is not what is compared."""
    settings = Diffusion.model_validate(
        {"zero_terminal_snr": zero_terminal_snr, "spacing": spacing, "prediction": kind, "loss_noise": 1}
    )
    made = DDIMScheduler(
        beta_start=0.0015,
        beta_end=0.0155,
        beta_schedule="scaled_linear",
        prediction_type=THEIRS[kind],
        clip_sample=False,
        timestep_spacing=spacing,
        steps_offset=1,
        set_alpha_to_one=spacing == "trailing",
    )
    made.alphas_cumprod = diffusion.alphas_cumprod(settings)
    made.final_alpha_cumprod = torch.tensor(1.0).double() if spacing == "trailing" else made.alphas_cumprod[0]
    made.set_timesteps(steps)
    return made


@pytest.mark.parametrize(
    ("kind", "spacing", "zero"),
    [
        ("x0", "trailing", False),
        ("x0", "leading", False),
        ("epsilon", "trailing", False),
        ("epsilon", "leading", False),
        ("v", "trailing", True),
        ("x0", "trailing", True),
    ],
)
def test_reverse_steps_are_those_of_ddim(kind: str, spacing: str, zero: bool) -> None:
    """For every number of steps, from the same noise, with the same (made up) network."""
    settings = Diffusion.model_validate(
        {"prediction": kind, "spacing": spacing, "zero_terminal_snr": zero, "loss_noise": 1}
    )
    alphas = diffusion.alphas_cumprod(settings)
    for steps in range(1, 51):
        scheduler = reference(kind, spacing, steps, zero)
        plan = diffusion.reverse_steps(settings, steps)
        assert [step.start for step in plan] == scheduler.timesteps.tolist()
        ours = theirs = example(steps)[1].double()
        for step, timestep in zip(plan, scheduler.timesteps.tolist(), strict=True):
            predicted = torch.sin(3.0 * ours + timestep / 1000)
            ours = diffusion.reverse(predicted, ours, step, alphas, kind)
            theirs = scheduler.step(torch.sin(3.0 * theirs + timestep / 1000), timestep, theirs).prev_sample
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_one_trailing_step_is_the_estimate_of_the_paper() -> None:
    plan = diffusion.reverse_steps(SETTINGS, 1)
    assert plan == (diffusion.ReverseStep(999, -1),)
    prediction, noisy = example()
    alphas = diffusion.alphas_cumprod(SETTINGS).float()
    expected = diffusion.clean_latent(prediction, noisy, alphas[999], "epsilon")
    assert torch.equal(diffusion.reverse(prediction, noisy, plan[0], alphas, "epsilon"), expected)


def test_the_weight_of_the_mask_loss_grows_where_it_joins() -> None:
    late = Diffusion(loss_mask=2.0, loss_mask_from=3, loss_mask_warmup=4)
    assert [diffusion.mask_weight(step, late) for step in range(1, 10)] == [0, 0, 0, 0.5, 1, 1.5, 2, 2, 2]
    assert diffusion.mask_weight(1, Diffusion(loss_mask=2.0)) == 2.0
    assert diffusion.mask_weight(4, Diffusion(loss_mask=2.0, loss_mask_from=3)) == 2.0
    assert diffusion.mask_weight(9, Diffusion()) == 0.0
