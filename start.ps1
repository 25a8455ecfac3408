# Set up and start Resonance on Windows. Right-click, "Run with PowerShell", or in a terminal:
#   powershell -ExecutionPolicy Bypass -File start.ps1             set up, then open JupyterLab at the first lesson
#   powershell -ExecutionPolicy Bypass -File start.ps1 -Setup      set up only
#   powershell -ExecutionPolicy Bypass -File start.ps1 -Rehearsal  set up, then run all ten lessons on the sample
#   powershell -ExecutionPolicy Bypass -File start.ps1 -Test       set up, then run the tests
# $env:PYTHON, $env:VENV and $env:TORCH (cpu, cu126 or cu130; lesson 03 says which one fits) as in start.sh.
# The file begins with a byte order mark: without it Windows PowerShell 5 reads Chinese as another encoding.
param([switch]$Setup, [switch]$Rehearsal, [switch]$Test)
$ErrorActionPreference = "Stop"
Set-Location $PSScriptRoot
$env:PYTHONUTF8 = "1"
$Venv = if ($env:VENV) { $env:VENV } else { ".venv" }
$VenvPython = Join-Path $Venv "Scripts\python.exe"

function Test-Supported([string[]]$Command) {
    if (-not (Get-Command $Command[0] -ErrorAction SilentlyContinue)) { return $false }
    $options = @($Command | Select-Object -Skip 1)
    try { & $Command[0] @options -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))" 2>$null } catch { return $false }
    return $LASTEXITCODE -eq 0
}

function Find-Python {
    $candidates = if ($env:PYTHON) { , @($env:PYTHON) } else { @("py", "-3.13"), @("py", "-3.12"), @("py", "-3.11"), @("python"), @("python3") }
    foreach ($candidate in $candidates) {
        if (Test-Supported $candidate) { return $candidate }
    }
    Write-Host "没有找到 Python 3.11–3.13。请从 https://www.python.org/downloads/ 安装 3.12，安装时勾选 “Add python.exe to PATH”，再运行一次。"
    Write-Host "No Python 3.11-3.13 was found. Install 3.12 from https://www.python.org/downloads/ with 'Add python.exe to PATH' ticked, then run this again."
    exit 1
}

function Invoke-Checked {
    $program, $options = $args
    & $program @options
    if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}

function Install-Resonance {
    $python = @(Find-Python)
    $text = (Get-Content "pyproject.toml", "constraints.txt" -Raw -Encoding UTF8) -join ""
    $bytes = [Text.Encoding]::UTF8.GetBytes($text + $env:TORCH)
    $stamp = [BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash($bytes))
    $stampFile = Join-Path $Venv ".resonance-setup"
    if ((Test-Path $stampFile) -and ((Get-Content $stampFile) -eq $stamp)) { return }
    if (-not (Test-Path $VenvPython)) { Invoke-Checked @python -m venv $Venv }
    Write-Host "正在安装（第一次需要几分钟）…… / Installing (minutes the first time) ..."
    Invoke-Checked $VenvPython -m pip install --quiet --upgrade pip
    if ($env:TORCH) {
        $version = (Select-String -Path constraints.txt -Pattern "^torch==(.+)$").Matches[0].Groups[1].Value
        Invoke-Checked $VenvPython -m pip install --quiet -c constraints.txt "torch==$version+$env:TORCH" --index-url "https://download.pytorch.org/whl/$env:TORCH"
    }
    Invoke-Checked $VenvPython -m pip install --quiet -c constraints.txt -e ".[serve,export,test]"
    Set-Content $stampFile $stamp
    Write-Host "安装好了。/ Installed."
}

Install-Resonance
if ($Rehearsal) {
    Invoke-Checked (Join-Path $Venv "Scripts\resonance.exe") run --output "rehearsal/$(Get-Date -Format yyyyMMdd-HHmmss)"
}
elseif ($Test) {
    Invoke-Checked $VenvPython -m pytest
}
elseif (-not $Setup) {
    # JupyterLab plays only what lies in its own folder, so that is the whole project: recordings are not in notebooks/.
    Invoke-Checked (Join-Path $Venv "Scripts\jupyter.exe") lab notebooks/01_check_gpu.ipynb "--ServerApp.root_dir=."
}
