"""第一步 · 检查显卡：指南里的 nvidia-smi，再加上 PyTorch 自己的说法。运行：python step01_check_gpu.py"""

import importlib.util
import shutil
import subprocess

NEEDED_GB, NEEDED_CUDA = 24, (12, 1)  # 指南的要求：显存 ≥ 24 GB，CUDA ≥ 12.1

# 一、操作系统看到的显卡：nvidia-smi 是驱动带来的命令
if shutil.which("nvidia-smi"):
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    print("驱动看到的显卡：", subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip())
else:
    print("找不到 nvidia-smi：这台机器没有 NVIDIA 显卡，或者没有装驱动。")

# 二、PyTorch 能不能用它：驱动没问题，也可能卡在这里
if importlib.util.find_spec("torch") is None:
    print("还没有安装 PyTorch（第三步会装）。")
else:
    import torch

    print(f"PyTorch {torch.__version__}，自带 CUDA：{torch.version.cuda or '没有（CPU 版）'}")
    if not torch.cuda.is_available():
        print("PyTorch 用不了显卡：可以用 CPU 排练，正式训练请换一台机器，或换一个 PyTorch 版本。")
    else:
        card = torch.cuda.get_device_properties(0)
        memory = card.total_memory / 1024**3
        cuda = tuple(int(part) for part in torch.version.cuda.split("."))
        enough = round(memory) >= NEEDED_GB and cuda >= NEEDED_CUDA  # 标称 24 GB 的卡，实际报告 23.x
        print(f"{card.name}：{memory:.1f} GB，支持 BF16：{torch.cuda.is_bf16_supported()}")
        print("✅ 可以按指南的设置训练" if enough else "可以训练，但要用小一点的模型或批大小")
