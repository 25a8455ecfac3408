"""第二步 · 连接服务器：由地址和端口生成登录命令和隧道命令。运行：HOST=地址 PORT=端口 python step02_connect.py"""

import os
import platform
import re

# ── 配置区（照着控制台的「SSH 登录指令」填，也可以设同名的环境变量）──
HOST = os.environ.get("HOST", "connect.example.com")  # 服务器地址
PORT = int(os.environ.get("PORT", "12345"))  # SSH 端口
USER = os.environ.get("SSH_USER", "root")  # 租用的服务器通常是 root
LOCAL_PORT = int(os.environ.get("LOCAL_PORT", "8888"))  # 你的电脑上用哪个端口
REMOTE_PORT = int(os.environ.get("REMOTE_PORT", "8888"))  # 服务器上 JupyterLab 的端口
# ────────────────────────────────────────────────────────────────────

# 这两行要粘贴到命令行里，所以只许出现地址该有的字符
if not re.fullmatch(r"[A-Za-z0-9.-]+", HOST) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9._-]*", USER):
    raise SystemExit(f"❌ 地址或用户名不对：{USER}@{HOST}")

where = "服务器" if "SSH_CONNECTION" in os.environ else "没有发现 SSH 登录的痕迹，应该是你面前的电脑"
print(f"现在在：{platform.node()}（{where}）")
print(f"登录：  ssh -p {PORT} {USER}@{HOST}")
print(f"隧道：  ssh -N -L 127.0.0.1:{LOCAL_PORT}:127.0.0.1:{REMOTE_PORT} -p {PORT} {USER}@{HOST}")
print(f"隧道开着的时候，浏览器打开：http://127.0.0.1:{LOCAL_PORT}")
