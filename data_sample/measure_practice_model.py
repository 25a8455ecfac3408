"""Measure what the practice model and the sample are made for; the model card's figures come from here.

    python data_sample/measure_practice_model.py

Healthy new clips, the sample patient before LoRA, and the patient after a plain LoRA on the training takes. Greedy
decoding, language given, at most 20 tokens; CER is micro (all edits over all reference characters). Every figure is
about synthetic speech and says nothing about any person. Needs `pip install peft jiwer` besides what the others need.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import jiwer
import numpy as np
import torch
import transformers
from make_practice_model import labels_of
from peft import LoraConfig, get_peft_model
from practice_speech import TEST_RATES, TEST_VARIANTS, TRAIN_VARIANTS, log_mel, record_all
from synthetic_voice import decode
from transformers import WhisperForConditionalGeneration, WhisperProcessor

HERE = Path(__file__).resolve().parent
MAX_NEW_TOKENS = 20
BATCH = 8
# Everyday sentences that are in no training list, from characters that are.
UNSEEN = [
    "我想吃面包",
    "爷爷想吃水果",
    "爸爸在看报纸",
    "今天很冷",
    "请给我毛巾",
    "我的手很疼",
    "明天去公园",
    "医生来了吗",
    "奶奶想喝茶",
    "帮我打开灯",
    "妹妹回家了",
    "我不想吃药",
    "水太热了",
    "天气很好",
    "弟弟的脚很疼",
    "老师在哪里",
]


def transcribe(model, processor: WhisperProcessor, features: np.ndarray) -> list[str]:
    """Decode log-mel features greedily."""
    texts = []
    for start in range(0, len(features), 32):
        sound = torch.from_numpy(features[start : start + 32]).float()
        with torch.inference_mode():
            ids = model.generate(
                input_features=sound,
                language="zh",
                task="transcribe",
                num_beams=1,
                do_sample=False,
                max_new_tokens=MAX_NEW_TOKENS,
            )
        texts += [text.strip() for text in processor.batch_decode(ids, skip_special_tokens=True)]
    return texts


def report(title: str, model, processor: WhisperProcessor, features: np.ndarray, texts: list[str]) -> float:
    """Print CER and exact matches with n; return the CER."""
    heard = transcribe(model, processor, features)
    rate = jiwer.cer(texts, heard)
    exact = sum(text == answer for text, answer in zip(texts, heard, strict=True))
    print(f"{title:58s} CER {rate:.3f}  exact {exact}/{len(texts)}", flush=True)
    return rate


def personalise(model, processor: WhisperProcessor, features: np.ndarray, texts: list[str], steps: int, seed: int):
    """Plain LoRA: r=16, alpha=32 on q_proj and v_proj, constant learning rate 1e-3, no augmentation."""
    torch.manual_seed(seed)
    # no task_type: with SEQ_2_SEQ_LM PEFT would pass input_ids, which Whisper refuses
    adapted = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"]))
    tokens = [processor.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-3)
    rng = np.random.default_rng(seed)
    adapted.train()
    started = time.monotonic()
    order: list[int] = []
    for _ in range(steps):
        if len(order) < BATCH:
            order = rng.permutation(len(texts)).tolist()
        chosen, order = order[:BATCH], order[BATCH:]
        labels = labels_of([tokens[index] for index in chosen], processor)
        loss = adapted(input_features=torch.from_numpy(features[chosen]).float(), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    adapted.eval()
    print(f"LoRA: {steps} steps of {BATCH} on {len(texts)} recordings, seed {seed}, {time.monotonic() - started:.0f} s")
    return adapted


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description="Measure the practice model.")
    parser.add_argument("--model", type=Path, default=HERE / "practice_model")
    parser.add_argument("--sample", type=Path, default=HERE)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--clip-seed", type=int, default=2026, help="draws the healthy clips")
    parser.add_argument("--only-sample", action="store_true", help="skip the healthy clips")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()  # `generate` comments on every default it fills in

    processor = WhisperProcessor.from_pretrained(options.model)
    model = WhisperForConditionalGeneration.from_pretrained(options.model).eval()
    phrases = json.loads((HERE / "phrases.json").read_text(encoding="utf-8"))
    if not options.only_sample:
        own = [text for text in phrases["sample_train"] + phrases["sample_new"] for _ in range(3)]
        for title, texts, variants in (
            ("healthy, sample phrases, trained voices, new rates", own, TRAIN_VARIANTS),
            ("healthy, sample phrases, new voices and rates", own, TEST_VARIANTS),
            ("healthy, phrases never trained on, trained voices", UNSEEN * 3, TRAIN_VARIANTS),
        ):
            clips = record_all(texts, variants, TEST_RATES, seed=options.clip_seed)
            report(title, model, processor, log_mel(processor, clips), texts)

    labels = json.loads((options.sample / "labels.json").read_text(encoding="utf-8"))
    features = log_mel(processor, [decode(options.sample / label["audio"]) for label in labels]).astype(np.float32)
    texts = [label["text"] for label in labels]
    known = set(phrases["sample_train"])
    sets = {
        "all takes": [i for i, _ in enumerate(labels)],
        "known phrases, another room": [i for i, x in enumerate(labels) if x["split"] == "test" and x["text"] in known],
        "new phrases": [i for i, label in enumerate(labels) if label["text"] not in known],
    }

    def report_sets(when: str, current) -> None:
        for name, chosen in sets.items():
            report(f"patient {when}, {name}", current, processor, features[chosen], [texts[i] for i in chosen])

    report_sets("before", model)
    train = [i for i, label in enumerate(labels) if label["split"] == "train"]
    for seed in options.seeds:
        fresh = WhisperForConditionalGeneration.from_pretrained(options.model)
        report_sets(
            "after",
            personalise(fresh, processor, features[train], [texts[i] for i in train], options.steps, seed),
        )


if __name__ == "__main__":
    main()
