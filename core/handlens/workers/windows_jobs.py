"""Jobs of Windows: processes that end together, at the latest when nobody holds the job any more."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from ctypes import wintypes
from typing import Any

assert sys.platform == "win32"

_KILL_ON_JOB_CLOSE = 0x2000
_EXTENDED_LIMIT_INFORMATION = 9
_PROCESS_TERMINATE = 0x0001
_PROCESS_SET_QUOTA = 0x0100

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.CreateJobObjectW.restype = wintypes.HANDLE
_kernel.CreateJobObjectW.argtypes = wintypes.LPVOID, wintypes.LPCWSTR
_kernel.SetInformationJobObject.argtypes = (
    wintypes.HANDLE,
    ctypes.c_int,
    wintypes.LPVOID,
    wintypes.DWORD,
)
_kernel.OpenProcess.restype = wintypes.HANDLE
_kernel.OpenProcess.argtypes = wintypes.DWORD, wintypes.BOOL, wintypes.DWORD
_kernel.AssignProcessToJobObject.argtypes = wintypes.HANDLE, wintypes.HANDLE
_kernel.TerminateJobObject.argtypes = wintypes.HANDLE, wintypes.UINT
_kernel.CloseHandle.argtypes = (wintypes.HANDLE,)


class _BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION."""

    _fields_ = (
        ("PerProcessUserTimeLimit", wintypes.LARGE_INTEGER),
        ("PerJobUserTimeLimit", wintypes.LARGE_INTEGER),
        ("LimitFlags", wintypes.DWORD),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", wintypes.DWORD),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", wintypes.DWORD),
        ("SchedulingClass", wintypes.DWORD),
    )


class _ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", ctypes.c_ulonglong * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


class Job:
    """The job of a process that was started with ``OPTIONS``.

    The system kills its processes when this process, which alone holds the job, ends in whatever way.
    """

    OPTIONS: dict[str, Any] = {  # noqa: RUF012
        # Neither a window nor the Control-C of this one.
        "creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP,
    }

    def __init__(self, process: int) -> None:
        self._job: int | None = _kernel.CreateJobObjectW(None, None)
        limits = _ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = _KILL_ON_JOB_CLOSE
        _kernel.SetInformationJobObject(
            self._job, _EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), ctypes.sizeof(limits)
        )
        self.add(process)

    def add(self, process: int) -> None:
        """Have a process, and all that it will start, belong to the job."""
        handle = _kernel.OpenProcess(_PROCESS_SET_QUOTA | _PROCESS_TERMINATE, False, process)
        if handle:
            _kernel.AssignProcessToJobObject(self._job, handle)
            _kernel.CloseHandle(handle)

    def kill(self) -> None:
        """Kill the process and what it has started."""
        if self._job is not None:
            _kernel.TerminateJobObject(self._job, 1)

    def end(self) -> None:
        """Kill what is left of the job, and forget it."""
        if self._job is not None:
            _kernel.CloseHandle(self._job)
            self._job = None
