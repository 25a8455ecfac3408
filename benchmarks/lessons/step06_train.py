"""第六步 · 训练模型：指南里的 train.py，改到今天的库能运行为止。运行：python step06_train.py"""

import json
import os
from pathlib import Path

import jiwer
import soundfile as sf
import torch
from peft import LoraConfig, get_peft_model
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, WhisperForConditionalGeneration, WhisperProcessor

# ── 配置区（只需修改这里，也可以设同名的环境变量）──────
DATA_DIR = os.environ.get("DATA_DIR", "/root/data")  # 数据目录：labels.json 和 audio/*.wav
OUTPUT_DIR = os.environ.get("OUTPUT_DIR", "/root/lora_output")  # 输出目录
BASE_MODEL = os.environ.get("BASE_MODEL", "openai/whisper-small")
LANGUAGE = "zh"  # 语言：中文
STEPS = int(os.environ.get("STEPS", "500"))  # 训练步数（数据少可改为 300）
BATCH = int(os.environ.get("BATCH", "32"))  # 每一步看几条：24 GB 显存可用 32，不够就减半
# ───────────────────────────────────────────────────────

processor = WhisperProcessor.from_pretrained(BASE_MODEL, language=LANGUAGE, task="transcribe")
model = WhisperForConditionalGeneration.from_pretrained(BASE_MODEL, dtype=torch.float32)
model.generation_config.update(language=LANGUAGE, task="transcribe")
lora = LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], lora_dropout=0.05, bias="none")
model = get_peft_model(model, lora)
model.print_trainable_parameters()  # 要训练的只是很小一部分


def prepare(record: dict) -> dict:
    name = Path(record["audio"]).stem.replace(" ", "_") + ".wav"  # 第五步转换好的文件
    samples, rate = sf.read(Path(DATA_DIR, "audio", name), dtype="float32")
    features = processor(samples, sampling_rate=rate, return_tensors="pt").input_features[0]
    ids = processor.tokenizer(record["text"]).input_ids[1:]  # 开头的记号由模型自己加，留着就会出现两次
    return {"input_features": features, "labels": torch.tensor(ids)}


def collate(rows: list[dict]) -> dict:  # 一批里答案长短不一：补上 -100，算 loss 时会跳过
    labels = torch.nn.utils.rnn.pad_sequence([row["labels"] for row in rows], batch_first=True, padding_value=-100)
    return {"input_features": torch.stack([row["input_features"] for row in rows]), "labels": labels}


def character_error_rate(prediction) -> dict:
    sides, pad = (prediction.predictions, prediction.label_ids), processor.tokenizer.pad_token_id
    ids = [side.clip(0) + (side < 0) * pad for side in sides]  # -100 不是字，换回补白用的记号
    heard, meant = (processor.batch_decode(side, skip_special_tokens=True) for side in ids)
    return {"cer": jiwer.cer(meant, heard)}


records = json.loads(Path(DATA_DIR, "labels.json").read_text(encoding="utf-8-sig"))
rows = [prepare(record) for record in records if record.get("split") != "test"]  # 测试录音留给第七步
held_out = rows[::10]  # 每十条留一条不训练，用来挑最好的一步
every = max(1, min(100, STEPS // 5))
args = Seq2SeqTrainingArguments(
    output_dir=f"{OUTPUT_DIR}/checkpoints", report_to="none", seed=17,
    per_device_train_batch_size=BATCH, max_steps=STEPS, learning_rate=1e-3, warmup_steps=min(50, STEPS // 10),
    eval_strategy="steps", eval_steps=every, save_steps=every, save_total_limit=2, logging_steps=5,
    predict_with_generate=True, generation_max_length=48, remove_unused_columns=False, label_names=["labels"],
    load_best_model_at_end=True, metric_for_best_model="cer", greater_is_better=False,
    bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),  # 没有这样的显卡时用 fp32
)  # fmt: skip
trainer = Seq2SeqTrainer(
    model=model, args=args, data_collator=collate, compute_metrics=character_error_rate, processing_class=processor,
    train_dataset=[row for number, row in enumerate(rows) if number % 10], eval_dataset=held_out,
)  # fmt: skip
trainer.train()
model.save_pretrained(OUTPUT_DIR)
processor.save_pretrained(OUTPUT_DIR)
print(f"✅ 训练完成！权重保存在 {OUTPUT_DIR}")
