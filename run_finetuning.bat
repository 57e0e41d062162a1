@echo off
rem Set PZ2 up (its own environment, packages, base model) and start it: no word opens the fine-tuning menu,
rem "chat" the chat, "test" the tests, "setup" installs everything in one go, any other word is a fine-tuning command.
setlocal

rem The project's folder ends in a backslash.
set "PROJECT=%~dp0"
set "ENVIRONMENT=%PROJECT%.venv"
if defined PZ2_VENV set "ENVIRONMENT=%PZ2_VENV%"
rem UTF-8 for every text that goes through a pipe.
set "PYTHONUTF8=1"

rem A finished environment starts itself: nothing is searched for and nothing is downloaded.
if not exist "%ENVIRONMENT%\pz2-ready.json" goto search
if not exist "%ENVIRONMENT%\Scripts\python.exe" goto search
"%ENVIRONMENT%\Scripts\python.exe" "%PROJECT%setup_environment.py" %*
exit /b %ERRORLEVEL%

:search
rem The launcher "py" knows every installed Python; "python" may be the shop's stand-in, which fails here and is passed over.
py -3 -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>&1
if not errorlevel 1 goto launcher
python -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>&1
if not errorlevel 1 goto plain
python3 -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>&1
if not errorlevel 1 goto numbered
echo PZ2 needs Python 3.11 or newer, and none was found. Install it from python.org and start again. 1>&2
exit /b 2

:launcher
py -3 "%PROJECT%setup_environment.py" %*
exit /b %ERRORLEVEL%

:plain
python "%PROJECT%setup_environment.py" %*
exit /b %ERRORLEVEL%

:numbered
python3 "%PROJECT%setup_environment.py" %*
exit /b %ERRORLEVEL%
