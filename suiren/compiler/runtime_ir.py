"""The native half of the runtime as LLVM IR text: how threads walk a program together.

``runtime.py`` compiles this once, fills in the pool (the memory that the threads share, laid out
below) and calls it. A program is a table of steps; every thread walks the whole table.

Claiming. The tasks of a step are divided among the threads in contiguous ranges, the same at every
run, so that a thread finds in its caches what it wrote before. Each thread has a *cell*: the number
of a step, and the next unclaimed task of its own range of that step. Claiming a task is a
compare-and-swap of the range's cell, by the owner or by a thread that has finished its own range. A
cell that still shows an earlier step may be moved on by anybody, since a thread goes on to a later
step only when all tasks of the one before are claimed. So a thread that is late, or not running at
all, is never waited for: the others do its part. Only a task that was begun must be finished.

Barriers. ``done`` counts tasks over the life of the pool. A thread adds what it did since the last
barrier and waits until ``done`` has reached the sum of the tasks of all earlier steps. It spins for
some tens of microseconds, then sleeps on a condition variable.

Runs. The caller (thread 0) copies the table into the pool and publishes it under a new even ``run``
number (odd while it writes: a sequence lock). Workers check after reading a step that the number
still stands, so none can act on a table that was overwritten, and the caller returns as soon as all
tasks are done, without waiting for the threads that are still looking for some. Step numbers and
``done`` only ever grow, so nothing is reset between runs. (After the sequence locks in H. Boehm,
"Can seqlocks get along with programming language memory models?", 2012.)
"""

from __future__ import annotations

from suiren.compiler import runtime_waiting

# Places in the pool, in bytes. What different threads write lies on different cache lines (128
# bytes: processors fetch lines in pairs).
RUN = 0  # number of the current run; odd while its table is being written
DONE = 128  # tasks completed since the pool was made
BUSY = 256  # 1 while a thread uses the pool
IDLE = 384  # how many workers sleep between runs
WAITING = 512  # how many threads sleep at a barrier
# Description of the current run: steps, threads, number of the first step, DONE before.
COUNT, THREADS, FIRST, BASE = 640, 648, 656, 664
# Settings, written by runtime.py, and functions of the operating system.
SPIN, IDLE_SPIN = 768, 872  # nanoseconds of spinning before sleeping: at barriers, between runs
LIMIT = 776  # threads wanted, the caller among them; a worker with this number or a higher one ends
STARTED = 784  # whether the workers have been started
LOCK, UNLOCK, WAIT, SIGNAL, BROADCAST = 792, 800, 808, 816, 824
CLOCK, CLOCK_ARGUMENT = 832, 840
MUTEX, IDLE_CONDITION, BARRIER_CONDITION = 848, 856, 864  # addresses
NEXT = 896  # number of the next run's first step
STEPS = 1024
MAX_STEPS = 1024  # longer tables are run in parts
STEP_BYTES = 32
CELLS = STEPS + MAX_STEPS * STEP_BYTES
CELL_BYTES = 128
MAX_THREADS = 256
SYSTEM = CELLS + MAX_THREADS * CELL_BYTES  # room for the mutex and the condition variables
POOL_BYTES = SYSTEM + 1024
# Step numbers in cells have 32 bits and are compared by difference. Cells of threads that never get
# a task stand still, so all are brought forward when the count passes a multiple of this power.
RENEW_BITS = 28


def text(triple: str) -> str:
    """The module for this triple; ``@kernel(args, _)`` stores the addresses of its functions.

    They are ``i64 run(pool, table, count, times)``, ``void work(pool, thread)`` and
    ``void limit(pool, threads)``.
    """
    places = {name: value for name, value in globals().items() if name.isupper()}
    places = {name: value for name, value in places.items() if isinstance(value, int)}
    module = runtime_waiting.text(triple) + _MODULE
    for name in sorted(places, key=len, reverse=True):
        module = module.replace(f"${name}", str(places[name]))
    return module


_MODULE = """
declare i64 @llvm.umin.i64(i64, i64)

define void @kernel(ptr %args, i64 %task) #0 {
  %second = getelementptr i8, ptr %args, i64 8
  %third = getelementptr i8, ptr %args, i64 16
  store ptr @run, ptr %args
  store ptr @work, ptr %second
  store ptr @limit, ptr %third
  ret void
}

; Reports %own finished tasks; wakes the others if these were the last of the %needed.
define internal void @report(ptr %pool, i64 %own, i64 %needed) #0 {
  %nothing = icmp eq i64 %own, 0
  br i1 %nothing, label %end, label %add
add:
  %done.place = getelementptr i8, ptr %pool, i64 $DONE
  %before = atomicrmw add ptr %done.place, i64 %own seq_cst
  %after = add i64 %before, %own
  %last = icmp eq i64 %after, %needed
  br i1 %last, label %wake, label %end
wake:
  call void @wake_waiting(ptr %pool)
  br label %end
end:
  ret void
}

; Does what this thread can claim of one step; returns how many tasks that were.
define internal i64 @step(ptr %pool, i64 %thread, i64 %threads, ptr %step, i64 %tasks, i64 %number)
    #0 {
entry:
  %number.high = shl i64 %number, 32
  %share = udiv i64 %tasks, %threads
  %taken = mul i64 %share, %threads
  %extra = sub i64 %tasks, %taken
  %kernel.place = getelementptr i8, ptr %step, i64 0
  %args.place = getelementptr i8, ptr %step, i64 8
  br label %range
range:  ; of thread %owner, beginning with our own
  %k = phi i64 [ 0, %entry ], [ %k.next, %range.end ]
  %own = phi i64 [ 0, %entry ], [ %own.end, %range.end ]
  %wrapping = add i64 %thread, %k
  %beyond = icmp uge i64 %wrapping, %threads
  %wrapped = sub i64 %wrapping, %threads
  %owner = select i1 %beyond, i64 %wrapped, i64 %wrapping
  %even = mul i64 %owner, %share
  %shift = call i64 @llvm.umin.i64(i64 %owner, i64 %extra)
  %begin = add i64 %even, %shift
  %longer = icmp ult i64 %owner, %extra
  %one = zext i1 %longer to i64
  %size = add i64 %share, %one
  %end = add i64 %begin, %size
  %cell.offset = mul i64 %owner, $CELL_BYTES
  %cell.index = add i64 %cell.offset, $CELLS
  %cell = getelementptr i8, ptr %pool, i64 %cell.index
  %empty = icmp eq i64 %size, 0
  br i1 %empty, label %range.end, label %look
look:
  %own.look = phi i64 [ %own, %range ], [ %own.more, %do ]
  %first.sight = load atomic i64, ptr %cell acquire, align 8
  br label %try
try:
  %sight = phi i64 [ %first.sight, %look ], [ %newer, %claim ]
  %sight.high = lshr i64 %sight, 32
  %sight.number = trunc i64 %sight.high to i32
  %number.short = trunc i64 %number to i32
  %difference = sub i32 %sight.number, %number.short
  %later = icmp sgt i32 %difference, 0
  br i1 %later, label %all.claimed, label %maybe
maybe:
  %same = icmp eq i32 %difference, 0
  %sight.task = and i64 %sight, 4294967295
  %task = select i1 %same, i64 %sight.task, i64 %begin
  %exhausted = icmp uge i64 %task, %end
  br i1 %exhausted, label %range.end, label %claim
claim:
  %task.next = add i64 %task, 1
  %wish = or i64 %number.high, %task.next
  %pair = cmpxchg ptr %cell, i64 %sight, i64 %wish acq_rel acquire
  %newer = extractvalue { i64, i1 } %pair, 0
  %won = extractvalue { i64, i1 } %pair, 1
  br i1 %won, label %do, label %try
do:
  %kernel.bits = load atomic i64, ptr %kernel.place monotonic, align 8
  %kernel = inttoptr i64 %kernel.bits to ptr
  %args.bits = load atomic i64, ptr %args.place monotonic, align 8
  %args = inttoptr i64 %args.bits to ptr
  call void %kernel(ptr %args, i64 %task)
  %own.more = add i64 %own.look, 1
  br label %look
range.end:
  %own.end = phi i64 [ %own, %range ], [ %own.look, %maybe ]
  %k.next = add i64 %k, 1
  %more = icmp ult i64 %k.next, %threads
  br i1 %more, label %range, label %result
all.claimed:  ; somebody is at a later step already
  br label %result
result:
  %own.result = phi i64 [ %own.end, %range.end ], [ %own.look, %all.claimed ]
  ret i64 %own.result
}

; One thread's way through the run. Thread 0 returns when all is done; the others, when there is
; nothing left to claim.
define internal void @walk(ptr %pool, i64 %thread, i64 %run, i64 %count, i64 %threads, i64 %first,
    i64 %base, ptr %times) #0 {
entry:
  %caller = icmp eq i64 %thread, 0
  %stamps = icmp ne ptr %times, null
  %steps = getelementptr i8, ptr %pool, i64 $STEPS
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %i.next, %next ]
  %needed = phi i64 [ %base, %entry ], [ %needed.next, %next ]
  %own = phi i64 [ 0, %entry ], [ %own.next, %next ]
  %finished = icmp eq i64 %i, %count
  br i1 %finished, label %finish, label %read
read:
  %offset = mul i64 %i, $STEP_BYTES
  %step = getelementptr i8, ptr %steps, i64 %offset
  %tasks.place = getelementptr i8, ptr %step, i64 16
  %tasks = load atomic i64, ptr %tasks.place monotonic, align 8
  %flags.place = getelementptr i8, ptr %step, i64 24
  %flags = load atomic i64, ptr %flags.place monotonic, align 8
  fence acquire
  %current = load atomic i64, ptr %pool monotonic, align 8
  %stands = icmp eq i64 %current, %run
  br i1 %stands, label %valid, label %leave
valid:
  %needed.next = add i64 %needed, %tasks
  %bit = and i64 %flags, 1
  %barrier = icmp ne i64 %bit, 0
  br i1 %barrier, label %stop, label %go
stop:
  call void @report(ptr %pool, i64 %own, i64 %needed)
  call void @await(ptr %pool, i64 %needed, i64 %run)
  br label %go
go:
  %own.go = phi i64 [ %own, %valid ], [ 0, %stop ]
  %single = icmp ule i64 %tasks, 1
  br i1 %single, label %alone, label %together
alone:
  %any = icmp eq i64 %tasks, 1
  %mine = and i1 %any, %caller
  br i1 %mine, label %do, label %next
do:
  %kernel.place = getelementptr i8, ptr %step, i64 0
  %kernel = load ptr, ptr %kernel.place
  %args.place = getelementptr i8, ptr %step, i64 8
  %args = load ptr, ptr %args.place
  call void %kernel(ptr %args, i64 0)
  %own.alone = add i64 %own.go, 1
  br label %next
together:
  %number = add i64 %first, %i
  %did = call i64 @step(ptr %pool, i64 %thread, i64 %threads, ptr %step, i64 %tasks, i64 %number)
  %own.together = add i64 %own.go, %did
  br label %next
next:
  %own.next = phi i64 [ %own.go, %alone ], [ %own.alone, %do ], [ %own.together, %together ]
  %i.next = add i64 %i, 1
  br label %head
finish:
  call void @report(ptr %pool, i64 %own, i64 %needed)
  br i1 %caller, label %finish.caller, label %leave
finish.caller:
  call void @await(ptr %pool, i64 %needed, i64 %run)
  br i1 %stamps, label %finish.stamp, label %leave
finish.stamp:
  %time.last = call i64 @now(ptr %pool)
  %time.last.place = getelementptr i64, ptr %times, i64 %count
  store i64 %time.last, ptr %time.last.place
  br label %leave
leave:
  ret void
}

; A whole program on the calling thread, which touches nothing that others do.
define internal void @alone(ptr %pool, ptr %table, i64 %count, ptr %times) #0 {
entry:
  %stamps = icmp ne ptr %times, null
  br i1 %stamps, label %stamp.first, label %head
stamp.first:
  %time.first = call i64 @now(ptr %pool)
  store i64 %time.first, ptr %times
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ 0, %stamp.first ], [ %i.next, %next ], [ %i.next, %stamp ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %read, label %leave
read:
  %offset = mul i64 %i, $STEP_BYTES
  %step = getelementptr i8, ptr %table, i64 %offset
  %kernel = load ptr, ptr %step
  %args.place = getelementptr i8, ptr %step, i64 8
  %args = load ptr, ptr %args.place
  %tasks.place = getelementptr i8, ptr %step, i64 16
  %tasks = load i64, ptr %tasks.place
  br label %task.head
task.head:
  %task = phi i64 [ 0, %read ], [ %task.next, %task.do ]
  %task.more = icmp ult i64 %task, %tasks
  br i1 %task.more, label %task.do, label %step.end
task.do:
  call void %kernel(ptr %args, i64 %task)
  %task.next = add i64 %task, 1
  br label %task.head
step.end:
  %i.next = add i64 %i, 1
  br label %next
next:
  br i1 %stamps, label %stamp, label %head
stamp:
  %time = call i64 @now(ptr %pool)
  %time.place = getelementptr i64, ptr %times, i64 %i.next
  store i64 %time, ptr %time.place
  br label %head
leave:
  ret void
}

; Publishes a table of at most $MAX_STEPS steps and walks it as thread 0. The pool is ours.
; With %times, writes when it begins and when it is done; it then has one step.
define internal void @part(ptr %pool, ptr %table, i64 %count, i64 %threads, i64 %most,
    ptr %times) #0 {
entry:
  %old.run = load atomic i64, ptr %pool monotonic, align 8
  %odd.run = add i64 %old.run, 1
  store atomic i64 %odd.run, ptr %pool monotonic, align 8
  fence release
  %next.place = getelementptr i8, ptr %pool, i64 $NEXT
  %first = load i64, ptr %next.place
  %after = add i64 %first, %count
  store i64 %after, ptr %next.place
  %done.place = getelementptr i8, ptr %pool, i64 $DONE
  %base = load atomic i64, ptr %done.place acquire, align 8
  %stamps = icmp ne ptr %times, null
  %count.place = getelementptr i8, ptr %pool, i64 $COUNT
  store atomic i64 %count, ptr %count.place monotonic, align 8
  %threads.place = getelementptr i8, ptr %pool, i64 $THREADS
  store atomic i64 %threads, ptr %threads.place monotonic, align 8
  %first.place = getelementptr i8, ptr %pool, i64 $FIRST
  store atomic i64 %first, ptr %first.place monotonic, align 8
  %base.place = getelementptr i8, ptr %pool, i64 $BASE
  store atomic i64 %base, ptr %base.place monotonic, align 8
  %steps = getelementptr i8, ptr %pool, i64 $STEPS
  %words = mul i64 %count, 4
  br label %copy
copy:
  %w = phi i64 [ 0, %entry ], [ %w.next, %copy ]
  %from = getelementptr i64, ptr %table, i64 %w
  %word = load i64, ptr %from
  %to = getelementptr i64, ptr %steps, i64 %w
  store atomic i64 %word, ptr %to monotonic, align 8
  %w.next = add i64 %w, 1
  %w.more = icmp ult i64 %w.next, %words
  br i1 %w.more, label %copy, label %copied
copied:
  %epoch.before = lshr i64 %first, $RENEW_BITS
  %epoch.after = lshr i64 %after, $RENEW_BITS
  %renew = icmp ne i64 %epoch.before, %epoch.after
  br i1 %renew, label %renewal, label %copied.all
renewal:  ; no task is unclaimed now, so nobody else writes to the cells
  %before.first = sub i64 %first, 1
  %before.high = shl i64 %before.first, 32
  %spent = or i64 %before.high, 4294967295
  br label %renew.cell
renew.cell:
  %c = phi i64 [ 0, %renewal ], [ %c.next, %renew.cell ]
  %c.offset = mul i64 %c, $CELL_BYTES
  %c.index = add i64 %c.offset, $CELLS
  %c.place = getelementptr i8, ptr %pool, i64 %c.index
  store atomic i64 %spent, ptr %c.place monotonic, align 8
  %c.next = add i64 %c, 1
  %c.more = icmp ult i64 %c.next, $MAX_THREADS
  br i1 %c.more, label %renew.cell, label %copied.all
copied.all:
  br i1 %stamps, label %stamp, label %publish
stamp:  ; now: others may be done before this thread looks again
  %time = call i64 @now(ptr %pool)
  store i64 %time, ptr %times
  br label %publish
publish:
  %run = add i64 %old.run, 2
  store atomic i64 %run, ptr %pool seq_cst, align 8
  %helpers = sub i64 %most, 1
  %others = sub i64 %threads, 1
  %wanted = call i64 @llvm.umin.i64(i64 %helpers, i64 %others)
  call void @wake_idle(ptr %pool, i64 %wanted)
  call void @walk(ptr %pool, i64 0, i64 %run, i64 %count, i64 %threads, i64 %first, i64 %base,
                  ptr %times)
  ret void
}

; Runs the program, timed in parts of one step; 1 means that it did not and that the workers must be
; started first.
define internal i64 @run(ptr %pool, ptr %table, i64 %count, ptr %times) #0 {
entry:
  br label %scan
scan:  ; the largest number of tasks of a step
  %i = phi i64 [ 0, %entry ], [ %i.next, %scan.next ]
  %most = phi i64 [ 0, %entry ], [ %most.next, %scan.next ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %scan.next, label %scanned
scan.next:
  %offset = mul i64 %i, $STEP_BYTES
  %tasks.offset = add i64 %offset, 16
  %tasks.place = getelementptr i8, ptr %table, i64 %tasks.offset
  %tasks = load i64, ptr %tasks.place
  %larger = icmp ugt i64 %tasks, %most
  %most.next = select i1 %larger, i64 %tasks, i64 %most
  %i.next = add i64 %i, 1
  br label %scan
scanned:
  %single = icmp ule i64 %most, 1
  br i1 %single, label %alone, label %parallel
parallel:
  %limit.place = getelementptr i8, ptr %pool, i64 $LIMIT
  %threads = load atomic i64, ptr %limit.place acquire, align 8
  %one = icmp ule i64 %threads, 1
  br i1 %one, label %alone, label %several
several:
  %started.place = getelementptr i8, ptr %pool, i64 $STARTED
  %started = load atomic i64, ptr %started.place acquire, align 8
  %not.started = icmp eq i64 %started, 0
  br i1 %not.started, label %start.first, label %take
start.first:
  ret i64 1
take:
  %busy.place = getelementptr i8, ptr %pool, i64 $BUSY
  %pair = cmpxchg ptr %busy.place, i64 0, i64 1 acquire monotonic
  %taken = extractvalue { i64, i1 } %pair, 1
  br i1 %taken, label %parts, label %alone
parts:
  %at = phi i64 [ 0, %take ], [ %at.next, %part ]
  %left = sub i64 %count, %at
  %empty = icmp eq i64 %left, 0
  br i1 %empty, label %release, label %part
part:
  %untimed = icmp eq ptr %times, null
  %largest = select i1 %untimed, i64 $MAX_STEPS, i64 1
  %size = call i64 @llvm.umin.i64(i64 %left, i64 %largest)
  %part.offset = mul i64 %at, $STEP_BYTES
  %part.table = getelementptr i8, ptr %table, i64 %part.offset
  %part.tasks.place = getelementptr i8, ptr %part.table, i64 16
  %part.tasks = load i64, ptr %part.tasks.place
  %part.most = select i1 %untimed, i64 %most, i64 %part.tasks
  %part.times.some = getelementptr i64, ptr %times, i64 %at
  %part.times = select i1 %untimed, ptr null, ptr %part.times.some
  call void @part(ptr %pool, ptr %part.table, i64 %size, i64 %threads, i64 %part.most,
                  ptr %part.times)
  %at.next = add i64 %at, %size
  br label %parts
release:
  store atomic i64 0, ptr %busy.place release, align 8
  ret i64 0
alone:
  call void @alone(ptr %pool, ptr %table, i64 %count, ptr %times)
  ret i64 0
}

; The life of a worker, until the limit falls to its number.
define internal void @work(ptr %pool, i64 %thread) #0 {
entry:
  br label %loop
loop:
  %seen = phi i64 [ 0, %entry ], [ %seen, %parity ], [ %run, %read ], [ %run, %walk ]
  call void @idle(ptr %pool, i64 %thread, i64 %seen)
  %run = load atomic i64, ptr %pool acquire, align 8
  %limit.place = getelementptr i8, ptr %pool, i64 $LIMIT
  %limit = load atomic i64, ptr %limit.place acquire, align 8
  %ended = icmp uge i64 %thread, %limit
  br i1 %ended, label %end, label %parity
parity:  ; odd: the next run is being written
  %odd = trunc i64 %run to i1
  br i1 %odd, label %loop, label %read
read:
  %count.place = getelementptr i8, ptr %pool, i64 $COUNT
  %count = load atomic i64, ptr %count.place monotonic, align 8
  %threads.place = getelementptr i8, ptr %pool, i64 $THREADS
  %threads = load atomic i64, ptr %threads.place monotonic, align 8
  %first.place = getelementptr i8, ptr %pool, i64 $FIRST
  %first = load atomic i64, ptr %first.place monotonic, align 8
  %base.place = getelementptr i8, ptr %pool, i64 $BASE
  %base = load atomic i64, ptr %base.place monotonic, align 8
  fence acquire
  %current = load atomic i64, ptr %pool monotonic, align 8
  %stands = icmp eq i64 %current, %run
  %member = icmp ult i64 %thread, %threads
  %joins = and i1 %stands, %member
  br i1 %joins, label %walk, label %loop
walk:
  call void @walk(ptr %pool, i64 %thread, i64 %run, i64 %count, i64 %threads, i64 %first, i64 %base,
                  ptr null)
  br label %loop
end:
  ret void
}

; Sets how many threads there are to be; workers beyond that end.
define internal void @limit(ptr %pool, i64 %threads) #0 {
  %place = getelementptr i8, ptr %pool, i64 $LIMIT
  store atomic i64 %threads, ptr %place seq_cst, align 8
  call void @lock(ptr %pool)
  call void @unlock(ptr %pool)
  %function.place = getelementptr i8, ptr %pool, i64 $BROADCAST
  %function = load ptr, ptr %function.place
  %condition.place = getelementptr i8, ptr %pool, i64 $IDLE_CONDITION
  %condition = load ptr, ptr %condition.place
  %ignored = call i32 %function(ptr %condition)
  ret void
}

attributes #0 = { nounwind }
"""
