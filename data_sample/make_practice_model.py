"""Train the practice model: a very small Whisper, from scratch, on synthetic Mandarin only.

    python data_sample/make_practice_model.py

It exists so that the ten lessons run in minutes on any laptop with no network. It must never be used for a patient.
A CTC loss on the encoder (dropped on saving) makes training about three times shorter: attention alone takes long to
find out which sound belongs to which character. Needs what `synthetic_voice.py` needs, torch and transformers.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from practice_processor import N_MELS, WINDOW_S, build_processor, generation_settings
from practice_speech import TRAIN_RATES, TRAIN_VARIANTS, log_mel, plan, record_all
from synthetic_voice import SAMPLE_RATE
from torch import nn
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor

HERE = Path(__file__).resolve().parent
NAME = "resonance/practice-model"
FRAMES_PER_S = 100  # log-mel frames; the encoder halves them
SHORT_WINDOW_S = 2.4  # most training batches fit into this and cost little more than half
IGNORED = -100


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train."""

    steps: int = 1400
    batch: int = 32
    peak_rate: float = 2e-3
    warmup: float = 0.08  # share of the steps
    ctc_share: float = 0.4
    long_share: float = 0.25  # share of batches at the full window
    seed: int = 7


@dataclass(frozen=True)
class Clips:
    """Training material: features (clips, mels, frames), durations in seconds, token ids of each text."""

    features: torch.Tensor
    seconds: torch.Tensor
    tokens: list[list[int]]


def build_model(processor: WhisperProcessor) -> WhisperForConditionalGeneration:
    """Return an untrained Whisper of about three million parameters."""
    tokenizer = processor.tokenizer
    settings = generation_settings(tokenizer)
    special = {key: settings[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")}
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=N_MELS,
        d_model=192,
        encoder_layers=4,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=768,
        decoder_ffn_dim=768,
        max_source_positions=WINDOW_S * FRAMES_PER_S // 2,
        max_target_positions=64,
        dropout=0.1,
        apply_spec_augment=True,
        mask_time_prob=0.05,
        mask_feature_prob=0.04,
        mask_feature_length=6,
        begin_suppress_tokens=None,  # belongs to generation_config.json
        suppress_tokens=None,
        **special,
    )
    config.resonance_practice_model = True  # the package and its pages look for this marker
    config.name_or_path = NAME
    model = WhisperForConditionalGeneration(config)
    # a fresh object: the one derived from the model's config would be derived again at every `generate`
    model.generation_config = GenerationConfig(**settings)
    model.generation_config._from_model_config = False  # else from_pretrained drops lang_to_id, task_to_id and the like
    return model


def make_clips(processor: WhisperProcessor, phrases: dict, seed: int, cache: Path | None = None) -> Clips:
    """Synthesise the training clips, or read them from `cache`."""
    texts = plan(phrases)
    if cache and cache.exists():
        stored = np.load(cache)
        features, seconds = stored["features"], stored["seconds"]
    else:
        waves = record_all(texts, TRAIN_VARIANTS, TRAIN_RATES, seed)
        seconds = np.array([len(wave) / SAMPLE_RATE for wave in waves], dtype=np.float32)
        features = log_mel(processor, waves)
        if cache:
            np.savez(cache, features=features, seconds=seconds)
    tokens = [processor.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    return Clips(torch.from_numpy(features), torch.from_numpy(seconds), tokens)


def use_window(model: WhisperForConditionalGeneration, positions: torch.Tensor) -> None:
    """Let the encoder take a shorter window: it insists on exactly as many frames as its position table has rows."""
    encoder = model.model.encoder
    encoder.embed_positions = nn.Embedding.from_pretrained(positions, freeze=True)
    encoder.config.max_source_positions = len(positions)


def labels_of(tokens: list[list[int]], processor: WhisperProcessor) -> torch.Tensor:
    """Return padded decoder labels: language, task, no timestamps, text, end. The model itself adds the start."""
    tokenizer = processor.tokenizer
    prefix = tokenizer.prefix_tokens[1:]
    rows = [torch.tensor([*prefix, *row, tokenizer.eos_token_id]) for row in tokens]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)


def ctc_loss(scores: torch.Tensor, seconds: torch.Tensor, tokens: list[list[int]], blank: int) -> torch.Tensor:
    """CTC over characters; `scores` (clips, positions, vocabulary), of which only `seconds` hold sound."""
    heard = (seconds * FRAMES_PER_S / 2).long().clamp(max=scores.shape[1])  # positions
    return nn.functional.ctc_loss(
        scores.log_softmax(-1).transpose(0, 1),
        torch.tensor([token for row in tokens for token in row]),
        heard,
        torch.tensor([len(row) for row in tokens]),
        blank=blank,
        zero_infinity=True,
    )


def train(model: WhisperForConditionalGeneration, processor: WhisperProcessor, clips: Clips, recipe: Recipe) -> None:
    """Train in place, with an auxiliary CTC head that is thrown away."""
    blank = processor.tokenizer.eos_token_id  # never a character, so it can stand for "nothing new"
    head = nn.Linear(model.config.d_model, model.config.vocab_size)
    parameters = [p for module in (model, head) for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.peak_rate, betas=(0.9, 0.98), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.peak_rate, total_steps=recipe.steps, pct_start=recipe.warmup
    )
    rng = np.random.default_rng(recipe.seed)
    full = model.model.encoder.embed_positions.weight.detach().clone()
    short = full[: int(SHORT_WINDOW_S * FRAMES_PER_S / 2)]
    everything = np.arange(len(clips.tokens))
    fitting = everything[(clips.seconds <= SHORT_WINDOW_S).numpy()]

    model.train()
    started = time.monotonic()
    for step in range(1, recipe.steps + 1):
        is_long = rng.random() < recipe.long_share
        positions = full if is_long else short
        chosen = rng.choice(everything if is_long else fitting, recipe.batch, replace=False)
        use_window(model, positions)
        tokens = [clips.tokens[index] for index in chosen]
        sound = clips.features[chosen, :, : 2 * len(positions)].float()
        result = model(input_features=sound, labels=labels_of(tokens, processor))
        auxiliary = ctc_loss(head(result.encoder_last_hidden_state), clips.seconds[chosen], tokens, blank)
        loss = (1 - recipe.ctc_share) * result.loss + recipe.ctc_share * auxiliary
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == 1:
            spent = time.monotonic() - started
            print(
                f"step {step:5d}  text {result.loss.item():.3f}  ctc {auxiliary.item():.3f}  {spent:.0f} s",
                flush=True,
            )
    use_window(model, full)
    model.eval()


def save(model: WhisperForConditionalGeneration, processor: WhisperProcessor, folder: Path) -> None:
    """Write model and processor; half precision on disk (small in git), full precision when loaded."""
    model.config.apply_spec_augment = False
    model.config.mask_time_prob = model.config.mask_feature_prob = 0.0
    model.config.dropout = 0.0
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"dtype": "float32", "name_or_path": NAME, "resonance_practice_model": True}
    path.write_text(json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    """Read the command line, train and save."""
    parser = argparse.ArgumentParser(description="Train the practice model on synthetic Mandarin.")
    parser.add_argument("--out", type=Path, default=HERE / "practice_model")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--cache", type=Path, help="an .npz file that keeps the training clips between runs")
    options = parser.parse_args()
    recipe = Recipe(steps=options.steps, seed=options.seed)
    torch.manual_seed(recipe.seed)
    np.random.seed(recipe.seed)  # noqa: NPY002  transformers draws SpecAugment's masks from numpy's global state

    phrases = json.loads((HERE / "phrases.json").read_text(encoding="utf-8"))
    processor = build_processor(phrases["characters"])
    model = build_model(processor)
    print(f"{model.num_parameters():,} parameters, {len(processor.tokenizer)} tokens", flush=True)
    clips = make_clips(processor, phrases, recipe.seed, options.cache)
    print(f"{len(clips.tokens)} clips, {clips.seconds.sum() / 60:.0f} minutes", flush=True)
    train(model, processor, clips, recipe)
    save(model, processor, options.out)


if __name__ == "__main__":
    main()
