"""How the threads of the runtime wait for each other and wake each other, as LLVM IR text.

Part of the module of ``runtime_ir.py``, which says what there is to wait for: a barrier (all tasks
so far are done) or, between runs, something to do. Both are waited for in the same way: look for
some tens of microseconds, then sleep on a condition variable. A thread that sleeps is counted while
it holds the lock, and looks once more before it sleeps; who wakes others takes the lock in between,
so that nobody misses it.
"""

from __future__ import annotations


def text(triple: str) -> str:
    """The functions ``now``, ``await``, ``idle``, ``wake_waiting`` and ``wake_idle``."""
    if triple.startswith(("x86_64", "i686", "amd64")):
        declared, pause = "declare void @llvm.x86.sse2.pause()", "@llvm.x86.sse2.pause()"
    elif triple.startswith(("aarch64", "arm64")):
        declared, pause = "declare void @llvm.aarch64.hint(i32)", "@llvm.aarch64.hint(i32 1)"
    else:
        declared, pause = "", "@no_pause()"
    now = _NOW_WINDOWS if "windows" in triple else _NOW_POSIX
    barrier = ("i64 %needed, i64 %run", "SPIN", "WAITING", "BARRIER_CONDITION")
    between = ("i64 %thread, i64 %seen", "IDLE_SPIN", "IDLE", "IDLE_CONDITION")
    waiting = _waiting("await", "passed", *barrier) + _waiting("idle", "called", *between)
    locking = _locking("lock", "LOCK") + _locking("unlock", "UNLOCK")
    module = declared + now + locking + _WAKING + _LOOKING + waiting
    return module.replace("call void PAUSE", f"call void {pause}")


def _waiting(name: str, look: str, given: str, spin: str, count: str, condition: str) -> str:
    """A function that returns when ``look(pool, given)`` is true; the others are places."""
    return f"""
define internal void @{name}(ptr %pool, {given}) #0 {{
entry:
  %at.once = call i1 @{look}(ptr %pool, {given})
  br i1 %at.once, label %end, label %start
start:
  %begin = call i64 @now(ptr %pool)
  %spin.place = getelementptr i8, ptr %pool, i64 ${spin}
  %spin = load i64, ptr %spin.place
  br label %turn
turn:
  %turns = phi i64 [ 0, %start ], [ %turns.next, %again ], [ 0, %clock ]
  call void PAUSE
  %found = call i1 @{look}(ptr %pool, {given})
  br i1 %found, label %end, label %again
again:
  %turns.next = add i64 %turns, 1
  %early = icmp ult i64 %turns.next, 64
  br i1 %early, label %turn, label %clock
clock:
  %time = call i64 @now(ptr %pool)
  %spent = sub i64 %time, %begin
  %longer = icmp ult i64 %spent, %spin
  br i1 %longer, label %turn, label %rest
rest:
  %count.place = getelementptr i8, ptr %pool, i64 ${count}
  %condition.place = getelementptr i8, ptr %pool, i64 ${condition}
  %condition = load ptr, ptr %condition.place
  call void @lock(ptr %pool)
  %ignored = atomicrmw add ptr %count.place, i64 1 seq_cst
  br label %look
look:
  %now.found = call i1 @{look}(ptr %pool, {given})
  br i1 %now.found, label %rise, label %asleep
asleep:
  call void @sleep(ptr %pool, ptr %condition)
  br label %look
rise:
  %ignored.too = atomicrmw sub ptr %count.place, i64 1 seq_cst
  call void @unlock(ptr %pool)
  br label %end
end:
  ret void
}}
"""


_NOW_POSIX = """
; Nanoseconds of a clock that never goes back, by clock_gettime.
define internal i64 @now(ptr %pool) #0 {
  %time = alloca { i64, i64 }
  %function.place = getelementptr i8, ptr %pool, i64 $CLOCK
  %function = load ptr, ptr %function.place
  %clock.place = getelementptr i8, ptr %pool, i64 $CLOCK_ARGUMENT
  %clock = load i64, ptr %clock.place
  %clock.short = trunc i64 %clock to i32
  %ignored = call i32 %function(i32 %clock.short, ptr %time)
  %seconds = load i64, ptr %time
  %rest.place = getelementptr i8, ptr %time, i64 8
  %rest = load i64, ptr %rest.place
  %whole = mul i64 %seconds, 1000000000
  %result = add i64 %whole, %rest
  ret i64 %result
}
"""

_NOW_WINDOWS = """
; Nanoseconds of a clock that never goes back: QueryPerformanceCounter, times nanoseconds per tick.
define internal i64 @now(ptr %pool) #0 {
  %time = alloca i64
  %function.place = getelementptr i8, ptr %pool, i64 $CLOCK
  %function = load ptr, ptr %function.place
  %tick.place = getelementptr i8, ptr %pool, i64 $CLOCK_ARGUMENT
  %tick = load i64, ptr %tick.place
  %ignored = call i32 %function(ptr %time)
  %ticks = load i64, ptr %time
  %result = mul i64 %ticks, %tick
  ret i64 %result
}
"""

def _locking(name: str, place: str) -> str:
    """A function that calls what is at a place, with the lock."""
    return f"""
define internal void @{name}(ptr %pool) #0 {{
  %place = getelementptr i8, ptr %pool, i64 ${place}
  %function = load ptr, ptr %place
  %mutex.place = getelementptr i8, ptr %pool, i64 $MUTEX
  %mutex = load ptr, ptr %mutex.place
  %ignored = call i32 %function(ptr %mutex)
  ret void
}}
"""


_WAKING = """
declare i64 @llvm.smin.i64(i64, i64)

define internal void @no_pause() #0 {
  ret void
}

; pthread_cond_wait(condition, mutex), which does not look at the rest, or
; SleepConditionVariableSRW(condition, lock, INFINITE, 0).
define internal void @sleep(ptr %pool, ptr %condition) #0 {
  %place = getelementptr i8, ptr %pool, i64 $WAIT
  %function = load ptr, ptr %place
  %mutex.place = getelementptr i8, ptr %pool, i64 $MUTEX
  %mutex = load ptr, ptr %mutex.place
  %ignored = call i32 %function(ptr %condition, ptr %mutex, i32 -1, i32 0)
  ret void
}

; Wakes who sleeps at a barrier. The lock: a thread between its last look and its sleep holds it.
define internal void @wake_waiting(ptr %pool) #0 {
  %waiting.place = getelementptr i8, ptr %pool, i64 $WAITING
  %waiting = load atomic i64, ptr %waiting.place seq_cst, align 8
  %none = icmp eq i64 %waiting, 0
  br i1 %none, label %end, label %wake
wake:
  call void @lock(ptr %pool)
  call void @unlock(ptr %pool)
  %place = getelementptr i8, ptr %pool, i64 $BROADCAST
  %function = load ptr, ptr %place
  %condition.place = getelementptr i8, ptr %pool, i64 $BARRIER_CONDITION
  %condition = load ptr, ptr %condition.place
  %ignored = call i32 %function(ptr %condition)
  br label %end
end:
  ret void
}

; Wakes up to %most of the workers that sleep between runs.
define internal void @wake_idle(ptr %pool, i64 %most) #0 {
entry:
  %idle.place = getelementptr i8, ptr %pool, i64 $IDLE
  %idle = load atomic i64, ptr %idle.place seq_cst, align 8
  %number = call i64 @llvm.smin.i64(i64 %idle, i64 %most)
  %none = icmp sle i64 %number, 0
  br i1 %none, label %end, label %wake
wake:
  call void @lock(ptr %pool)
  call void @unlock(ptr %pool)
  %place = getelementptr i8, ptr %pool, i64 $SIGNAL
  %function = load ptr, ptr %place
  %condition.place = getelementptr i8, ptr %pool, i64 $IDLE_CONDITION
  %condition = load ptr, ptr %condition.place
  br label %signal
signal:
  %left = phi i64 [ %number, %wake ], [ %less, %signal ]
  %ignored = call i32 %function(ptr %condition)
  %less = sub i64 %left, 1
  %more = icmp sgt i64 %less, 0
  br i1 %more, label %signal, label %end
end:
  ret void
}
"""

_LOOKING = """
; Whether %needed tasks are done, or the run is over.
define internal i1 @passed(ptr %pool, i64 %needed, i64 %run) #0 {
  %done.place = getelementptr i8, ptr %pool, i64 $DONE
  %done = load atomic i64, ptr %done.place seq_cst, align 8
  %ahead = sub i64 %done, %needed
  %enough = icmp sge i64 %ahead, 0
  %current = load atomic i64, ptr %pool monotonic, align 8
  %over = icmp ne i64 %current, %run
  %result = or i1 %enough, %over
  ret i1 %result
}

; Whether the worker has something to do: another run than the last it saw, or its end.
define internal i1 @called(ptr %pool, i64 %thread, i64 %seen) #0 {
  %run = load atomic i64, ptr %pool seq_cst, align 8
  %odd = trunc i64 %run to i1
  %other = icmp ne i64 %run, %seen
  %even = xor i1 %odd, true
  %new = and i1 %other, %even
  %limit.place = getelementptr i8, ptr %pool, i64 $LIMIT
  %limit = load atomic i64, ptr %limit.place seq_cst, align 8
  %ended = icmp uge i64 %thread, %limit
  %result = or i1 %new, %ended
  ret i1 %result
}
"""
