"""From the text of LLVM modules to functions in memory: the only module that talks to LLVM.

It sits below the code generators and the runtime; above ``target``, ``disk_cache``, ``linker`` and
``executable``, which load code without LLVM where they can.

    kernels = load([text, ...])          # each text defines  define void @kernel(ptr, i64)
    kernels[0].address                   # callable as long as the Kernel object lives

Equal texts share one Kernel while anybody holds it. Otherwise the code comes from the disk cache
(then llvmlite is not even imported), or is compiled: the texts of one call on all cores at once.
The IR arrives vectorised, so the pipeline is light: scalar replacement of allocas, instruction
combining, control flow; then code generation at level 2. Measured on an AVX-512 machine (a 3x3
convolution's tile with 28 accumulators: 13 ms; exp over a row: 8 ms), LLVM's own pipelines took 1.2
to 1.8 times as long and gave no faster code.

Rules for the texts: no symbols from outside but libc's; helper functions are ``internal``,
constants ``private``; every ``define`` carries ``target.function_attributes``.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import itertools
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from suiren.compiler import disk_cache, executable, identity, linker
from suiren.compiler import target as targets
from suiren.compiler.target import Target
from suiren.version import __version__

# Counts changes of the pipeline below, so that code made by an older one is not found on disk.
PIPELINE = 1
_CODE_LEVEL = 2  # LLVM's "default"; 3 gave the same speed for our kernels
# The llvmlite functions that make up the pipeline, in order.
_PASSES = ("SROA", "InstCombine", "SimplifyCFG")
# Small: constants are addressed relative to the code (the "large" model that LLVM prefers for code
# made at run time spends an instruction and a register on each).
_CODE_MODEL = "small"


class CompileError(RuntimeError):
    """LLVM refused the text of a kernel: a mistake in a code generator of Suiren."""


class Kernel:
    """A function in memory; its code is freed when the last Kernel loaded with it is gone."""

    __slots__ = ("address", "digest", "unit", "_code", "__weakref__")

    def __init__(self, address: int, digest: str, code: Any, unit: linker.Unit | None = None):
        self.address = address
        self.digest = digest
        self._code = code  # the library or mapping, which owns the memory
        self.unit = unit  # to be kept with the programs that use it; None: LLVM loaded it

    def __repr__(self) -> str:
        return f"Kernel(address={self.address:#x}, digest={self.digest[:12]!r})"


class Statistics:
    """Counts since the process began: kernels found in memory, found on disk, compiled; and
    programs that were found on disk as a whole."""

    def __init__(self) -> None:
        self.shared = 0
        self.from_disk = 0
        self.compiled = 0
        self.programs = 0


statistics = Statistics()
_lock = threading.RLock()
_library_numbers = itertools.count()
_loaded: weakref.WeakValueDictionary[str, Kernel] = weakref.WeakValueDictionary()

if hasattr(os, "register_at_fork"):
    # No fork while LLVM is at work in another thread: the child would inherit its locks, held.
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )


def load(texts: Sequence[str], function: str = "kernel") -> list[Kernel]:
    """The functions of this name in these LLVM modules, as code of this machine, in order.

    Raises CompileError, with LLVM's message and the text, when a text is not valid IR.

    >>> text = "define void @kernel(ptr %args, i64 %task) { ret void }"
    >>> [kernel.address != 0 for kernel in load([text])]
    [True]
    """
    target = targets.host()
    digests = [_digest(text, function, target) for text in texts]
    with _lock:
        kernels: dict[str, Kernel] = {}  # holds them until we return
        missing: dict[str, str] = {}
        for digest, text in zip(digests, texts, strict=True):
            kernel = _loaded.get(digest)
            if kernel is not None:
                kernels[digest] = kernel
                statistics.shared += 1
            else:
                missing[digest] = text
        if missing:
            objects = _objects(missing, function, target)
            for kernel in _load(objects):
                kernels[kernel.digest] = _loaded[kernel.digest] = kernel
        return [kernels[digest] for digest in digests]


def object_code(text: str, target: Target | None = None, function: str = "kernel") -> bytes:
    """The object file (ELF or Mach-O) that the text becomes; it is neither kept nor loaded."""
    target = target or targets.host()
    with _lock:
        return _compiler().compile(text, target, function, None, "object")


def assembly(text: str, target: Target | None = None) -> str:
    """The text's assembly on the target (default: this machine), for people and tests to read.

    >>> from suiren.compiler.target import NEON
    >>> print(assembly("define void @kernel(ptr %args, i64 %task) { ret void }", NEON))
    ... # doctest: +ELLIPSIS
    <BLANKLINE>
    ...ret...
    """
    with _lock:
        code = _compiler().compile(text, target or targets.host(), "kernel", None, "assembly")
    return code.decode()


def optimised_ir(text: str, target: Target | None = None) -> str:
    """The text after the passes, as LLVM prints it."""
    with _lock:
        return _compiler().compile(text, target or targets.host(), "kernel", None, "ir").decode()


def _digest(text: str, function: str, target: Target) -> str:
    """Names the code: everything that it depends on is in here."""
    llvm = identity.llvm() or _llvm_version()
    parts = (text, function, target.key, llvm, __version__, str(PIPELINE))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@functools.cache
def _llvm_version() -> str:
    import llvmlite
    import llvmlite.binding as llvm

    return f"{llvmlite.__version__} {llvm.llvm_version_info}"


def _objects(texts: dict[str, str], function: str, target: Target) -> dict[str, bytes]:
    """The object code of each, from the disk or compiled now on all cores."""
    cache = disk_cache.of_process()
    objects = {}
    for digest in texts:
        code = cache.get(digest)
        if code is not None:
            objects[digest] = code
    statistics.from_disk += len(objects)
    # The longest first, so that no thread is left alone with a long one at the end.
    rest = sorted((d for d in texts if d not in objects), key=lambda d: -len(texts[d]))
    statistics.compiled += len(rest)
    if not rest:
        return objects
    compiler = _compiler()

    def one(digest: str) -> bytes:
        return compiler.compile(texts[digest], target, function, _symbol(digest), "object")

    for digest, code in zip(rest, _on_all_cores(one, rest, compiler.parallel), strict=True):
        objects[digest] = code
        cache.put(digest, code)
    return objects


def _on_all_cores(work: Any, items: Sequence[Any], parallel: bool) -> list[Any]:
    """``[work(item) for item in items]``, by several threads; the first error is raised."""
    threads = min(len(items), targets.processors()) if parallel else 1
    results: list[Any] = [None] * len(items)
    errors: list[BaseException] = []
    places = iter(range(len(items)))  # next() of a range's iterator is atomic

    def walk() -> None:
        for place in places:
            if errors:
                return
            try:
                results[place] = work(items[place])
            except BaseException as error:
                errors.append(error)

    helpers = []
    for _ in range(threads - 1):
        helper = threading.Thread(target=walk, name="suiren compiler", daemon=True)
        try:
            helper.start()
        except RuntimeError:  # no more threads to be had: this one does the work
            break
        helpers.append(helper)
    walk()
    for helper in helpers:
        helper.join()
    if errors:
        raise errors[0]
    return results


def _symbol(digest: str) -> str:
    """A name of the function that no other kernel of its library has."""
    return f"kernel_{digest[:32]}"


def _load(objects: dict[str, bytes]) -> list[Kernel]:
    """Loads the objects together, as one library that is unloaded with its last Kernel."""
    units: dict[str, linker.Unit] = {}
    if executable.machine() is not None:
        for digest, code in objects.items():
            with contextlib.suppress(linker.NotLinkable):
                units[digest] = linker.link(code, _symbol(digest))
    if units:
        whole, entries = linker.join(list(units.values()))
        mapping = map_code(whole)
        if mapping is not None:
            kernels = [
                Kernel(mapping.address + entry, digest, mapping, unit)
                for (digest, unit), entry in zip(units.items(), entries, strict=True)
            ]
            rest = {digest: code for digest, code in objects.items() if digest not in units}
            return kernels + _linked_by_llvm(rest)
    return _linked_by_llvm(objects)


def map_code(unit: linker.Unit) -> executable.Mapping | None:
    """The unit in executable memory; None where that is LLVM's affair. Raises CompileError."""
    try:
        return executable.load(unit)
    except LookupError as error:
        raise CompileError(f"a kernel cannot be loaded: {error}") from None


def _linked_by_llvm(objects: dict[str, bytes]) -> list[Kernel]:
    if not objects:
        return []
    import llvmlite.binding as llvm

    builder = llvm.JITLibraryBuilder().add_current_process()
    for digest, code in objects.items():
        builder.add_object_img(code).export_symbol(_symbol(digest))
    try:
        library = builder.link(_linker(), f"kernels {next(_library_numbers)}")
    except RuntimeError as error:
        raise CompileError(f"a kernel cannot be loaded: {error}") from None
    return [Kernel(library[_symbol(digest)], digest, library) for digest in objects]


@functools.cache
def _linker() -> Any:
    """ORC with JITLink, which places the parts of an object near each other, as code of the small
    model needs, and reaches libc's functions, which are far, by jumps. (MCJIT's memory managers do
    not: one may place constants out of reach, the other aborts on calls to libc.)
    """
    import llvmlite.binding as llvm

    _compiler()  # initialises LLVM
    target = targets.host()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=_CODE_LEVEL, reloc="pic",
        codemodel=_CODE_MODEL, jit=True,
    )  # fmt: skip
    return llvm.create_lljit_compiler(machine, use_jit_link=True)


def _jit_triple(target: Target) -> str:
    """The triple for code that is loaded in memory: ELF objects on Windows too."""
    windows = os.name == "nt" and "windows" in target.triple and not target.triple.endswith("-elf")
    return target.triple + ("-elf" if windows else "")


# ---------------------------------------------------------------------------------------------
# Calling LLVM


@functools.cache
def _compiler() -> _Parallel | _Locked:
    """The way to compile that this llvmlite allows."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        return _Parallel()
    except (AttributeError, OSError):
        return _Locked()


class _Locked:
    """Compiles through llvmlite's documented functions, which hold one lock for all threads."""

    parallel = False

    def compile(
        self, text: str, target: Target, function: str, symbol: str | None, form: str
    ) -> bytes:
        """The text in this form: "ir", "assembly" or "object"; the function is renamed."""
        import llvmlite.binding as llvm

        # The stack closes what each thing was made from after the thing: the garbage collector
        # knows no order, and LLVM crashes when a context goes before its module.
        with contextlib.ExitStack() as stack:
            context = stack.enter_context(llvm.create_context())
            machine = stack.enter_context(
                llvm.Target.from_triple(_jit_triple(target)).create_target_machine(
                    cpu=target.cpu, features=target.features, opt=_CODE_LEVEL, reloc="pic",
                    codemodel=_CODE_MODEL, jit=True,
                )
            )  # fmt: skip
            try:
                module = stack.enter_context(llvm.parse_assembly(text, context))
                module.triple = _jit_triple(target)
                module.data_layout = str(machine.target_data)
                module.verify()
                if symbol:
                    module.get_function(function).name = symbol
            except RuntimeError as error:
                raise _refused(str(error), text) from None
            except NameError:
                raise _refused(f"it defines no function @{function}", text) from None
            options = stack.enter_context(llvm.create_pipeline_tuning_options())
            builder = stack.enter_context(llvm.create_pass_builder(machine, options))
            passes = stack.enter_context(llvm.create_new_function_pass_manager())
            passes.add_sroa_pass()
            passes.add_instruction_combine_pass()
            passes.add_simplify_cfg_pass()
            for item in module.functions:
                if not item.is_declaration:
                    passes.run(item, builder)
            if form == "ir":
                return str(module).encode()
            if form == "assembly":
                return machine.emit_assembly(module).encode()
            return machine.emit_object(module)


class _Parallel:
    """Compiles through a handle of llvmlite's library of our own, without its lock.

    llvmlite lets one thread at a time into LLVM. LLVM itself asks only that threads use contexts of
    their own, and here each compilation makes a context, a target machine and passes for itself and
    shares nothing; ctypes releases the GIL. Measured: 32 kernels on 2 cores in 150 ms instead of
    360. What these functions are called is llvmlite's own affair: when one is missing,
    AttributeError is raised and :class:`_Locked` takes over.
    """

    parallel = True

    def __init__(self) -> None:
        from llvmlite.binding import ffi

        library = ctypes.CDLL(ffi.lib._name)
        pointer, text, flag = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        message = ctypes.POINTER(ctypes.c_void_p)

        def take(name: str, result: Any, *arguments: Any) -> Any:
            function = getattr(library, "LLVMPY_" + name)
            function.restype = result
            function.argtypes = arguments
            return function

        self._create_context = take("ContextCreate", pointer)
        self._dispose_context = take("ContextDispose", None, pointer)
        self._parse = take("ParseAssembly", pointer, pointer, text, message)
        self._verify = take("VerifyModule", ctypes.c_bool, pointer, message)
        self._dispose_module = take("DisposeModule", None, pointer)
        self._print = take("PrintModuleToString", None, pointer, message)
        self._set_triple = take("SetTarget", None, pointer, text)
        self._set_layout = take("SetDataLayout", None, pointer, text)
        self._named_function = take("GetNamedFunction", pointer, pointer, text)
        self._set_name = take("SetValueName", None, pointer, text)
        self._functions = take("ModuleFunctionsIter", pointer, pointer)
        self._next_function = take("FunctionsIterNext", pointer, pointer)
        self._dispose_functions = take("DisposeFunctionsIter", None, pointer)
        self._is_declaration = take("IsDeclaration", flag, pointer)
        self._find_target = take("GetTargetFromTriple", pointer, text, message)
        self._create_machine = take(
            "CreateTargetMachine", pointer, pointer, text, text, text, flag, text, text, flag,
            flag, text,
        )  # fmt: skip
        self._dispose_machine = take("DisposeTargetMachine", None, pointer)
        self._machine_data = take("CreateTargetMachineData", pointer, pointer)
        self._print_data = take("CopyStringRepOfTargetData", None, pointer, message)
        self._dispose_data = take("DisposeTargetData", None, pointer)
        self._create_options = take("CreatePipelineTuningOptions", pointer)
        self._dispose_options = take("DisposePipelineTuningOptions", None, pointer)
        self._create_builder = take("CreatePassBuilder", pointer, pointer, pointer)
        self._dispose_builder = take("DisposePassBuilder", None, pointer)
        self._create_passes = take("CreateNewFunctionPassManager", pointer)
        self._dispose_passes = take("DisposeNewFunctionPassManger", None, pointer)
        self._add_passes = [take(f"function_Add{p}Pass", None, pointer) for p in _PASSES]
        self._run_passes = take("RunNewFunctionPassManager", None, pointer, pointer, pointer)
        self._emit = take("TargetMachineEmitToMemory", pointer, pointer, pointer, flag, message)
        self._buffer_start = take("GetBufferStart", pointer, pointer)
        self._buffer_size = take("GetBufferSize", ctypes.c_size_t, pointer)
        self._dispose_buffer = take("DisposeMemoryBuffer", None, pointer)
        self._dispose_string = take("DisposeString", None, pointer)

    def compile(
        self, text: str, target: Target, function: str, symbol: str | None, form: str
    ) -> bytes:
        """As :meth:`_Locked.compile`; any number of threads at once."""
        context = self._create_context()
        module = machine = None
        message = ctypes.c_void_p()
        try:
            module = self._parse(context, text.encode(), ctypes.byref(message))
            if not module:
                raise _refused(self._take_string(message), text)
            machine = self._machine(target)
            self._set_triple(module, _jit_triple(target).encode())
            self._set_layout(module, self._layout(machine))
            # The passes and the code generator do not check what they are given: they crash.
            if self._verify(module, ctypes.byref(message)):
                raise _refused(self._take_string(message), text)
            if symbol:
                found = self._named_function(module, function.encode())
                if not found:
                    raise _refused(f"it defines no function @{function}", text)
                self._set_name(found, symbol.encode())
            self._optimise(module, machine)
            if form == "ir":
                self._print(module, ctypes.byref(message))
                return self._take_string(message).encode()
            return self._code(module, machine, form, text)
        finally:
            if machine:
                self._dispose_machine(machine)
            if module:
                self._dispose_module(module)
            self._dispose_context(context)

    def _machine(self, target: Target) -> int:
        message = ctypes.c_void_p()
        triple = _jit_triple(target).encode()
        found = self._find_target(triple, ctypes.byref(message))
        if not found:
            raise CompileError(f"LLVM: {self._take_string(message)}")
        machine = self._create_machine(
            found, triple, target.cpu.encode(), target.features.encode(), _CODE_LEVEL, b"pic",
            _CODE_MODEL.encode(), 0, 1, b"",
        )  # fmt: skip
        if not machine:
            raise CompileError(f"LLVM has no code generator for {target.triple} {target.cpu}")
        return machine

    def _layout(self, machine: int) -> bytes:
        message = ctypes.c_void_p()
        data = self._machine_data(machine)
        self._print_data(data, ctypes.byref(message))
        self._dispose_data(data)
        return self._take_string(message).encode()

    def _optimise(self, module: int, machine: int) -> None:
        options = self._create_options()
        builder = self._create_builder(machine, options)
        passes = self._create_passes()
        for add in self._add_passes:
            add(passes)
        functions = self._functions(module)
        while function := self._next_function(functions):
            if not self._is_declaration(function):
                self._run_passes(passes, function, builder)
        self._dispose_functions(functions)
        self._dispose_passes(passes)
        self._dispose_builder(builder)
        self._dispose_options(options)

    def _code(self, module: int, machine: int, form: str, text: str) -> bytes:
        message = ctypes.c_void_p()
        buffer = self._emit(machine, module, int(form == "object"), ctypes.byref(message))
        if not buffer:
            raise _refused(self._take_string(message), text)
        code = ctypes.string_at(self._buffer_start(buffer), self._buffer_size(buffer))
        self._dispose_buffer(buffer)
        return code

    def _take_string(self, message: ctypes.c_void_p) -> str:
        """The text that LLVM made, whose memory is given back."""
        if not message.value:
            return "no message"
        string = ctypes.string_at(message.value).decode("utf-8", "replace")
        self._dispose_string(message)
        return string


def _refused(message: str, text: str) -> CompileError:
    numbered = "\n".join(f"{n:5} {line}" for n, line in enumerate(text.splitlines(), 1))
    return CompileError(f"LLVM refused a kernel's text: {message.strip()}\n{numbered}")
