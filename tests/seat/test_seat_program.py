# SPDX-License-Identifier: MIT
"""What is run: a file, a line, a module, a directory, standard input; its arguments, its
environment, the modules that come along."""

import pytest

SHOW = "import sys\nprint(sys.argv, __name__)\n"
ARGUMENTS = [
    "",
    "two words",
    "it's",
    'a "b"',
    "\\",
    "$HOME",
    "--cid",
    "-c",
    "é🐍",
    "new\nline",
    "",
]


@pytest.mark.parametrize("count", [0, 1, len(ARGUMENTS)])
def test_arguments_are_exact(seat, write, count):
    script = write("app.py", SHOW)
    result = seat(script, *ARGUMENTS[:count])
    assert (result.code, result.err) == (0, b"")
    words = [str(script), *ARGUMENTS[:count]]
    assert eval(result.out.decode().rpartition("]")[0] + "]") == words


def test_the_ways_to_say_a_program(seat, write):
    script = write("app.py", SHOW)
    options = {"cwd": script.parent}
    ways = {
        "['app.py', '-i'] __main__": seat("app.py", "-i", **options),
        "['-c', '-i'] __main__": seat("-c", SHOW, "-i", **options),
        "['-', '-i'] __main__": seat("-", "-i", stdin=SHOW.encode(), **options),
        f"['{script}', '-i'] __main__": seat("-m", "app", "-i", **options),
    }
    assert [way.out.decode().strip() for way in ways.values()] == list(ways)


def test_a_directory_with_main(quick, write):
    write("app/main.py", "import one.two\nprint(open('/app/data/file.txt').read(), __file__)")
    write("app/one/two.py", "print('two')")
    folder = write("app/data/file.txt", "contents").parents[1]
    result = quick("app", cwd=folder.parent)
    assert result.out == b"two\ncontents app/main.py\n"


def test_a_package_as_a_program(quick, write):
    write("package/__init__.py", "print('package')")
    write("package/inside/helper.py", "WORD = 'helped'")
    write("package/tool.py", "from .inside import helper\nprint(__name__, helper.WORD)")
    folder = write("package/__main__.py", "from . import tool").parents[1]
    assert quick("-m", "package", cwd=folder).out == b"package\npackage.tool helped\n"
    assert quick("-m", "package.tool", cwd=folder).out == b"package\n__main__ helped\n"


def test_a_module_that_is_not_there(quick, tmp_path):
    result = quick("-m", "no_such_module", cwd=tmp_path)
    assert result.code == 1 and b"no module named 'no_such_module'" in result.err


def test_modules_beside_the_script_come_along(seat, write):
    write("helper.py", "import other\nNAME = 'helper ' + other.NAME")
    write("other.py", "NAME = 'other'")
    write("lazy.py", "NAME = 'lazy'")
    script = write("app.py", "import sys\nimport helper\nprint(helper.NAME, sys.path[0])\n")
    assert seat(script).out == b"helper other /app\n"
    assert seat("-c", "print(__import__('lazy').NAME)", cwd=script.parent).out == b"lazy\n"


def test_modules_beside_what_a_link_leads_to(quick, write, tmp_path):
    write("real/helper.py", "NAME = 'helped'")
    link = tmp_path / "link.py"
    link.symlink_to(write("real/app.py", "import helper\nprint(helper.NAME, __file__)"))
    assert quick(link).out == b"helped %s\n" % str(link).encode()


def test_what_is_not_imported_does_not_come_along(quick, write):
    write("huge/data.py", b"#" * (70 << 20))
    write("huge.bin", "")
    script = write(
        "app.py", "import sys, os\nprint('huge', sys.path[0], '/app' in os.listdir('/'))"
    )
    assert quick(script).out == b"huge  False\n"


def test_a_module_that_is_too_large_is_a_sentence(quick, write):
    write("huge.py", b"#" * (70 << 20))
    result = quick(write("app.py", "import huge"))
    assert result.code == 125
    assert result.err == b"mpfw: what comes along has 70 MiB; a guest takes 64 MiB\n"


@pytest.mark.parametrize("name", ["runner", "channel"])
def test_a_module_of_a_name_that_the_firmware_uses(quick, write, name):
    write(f"{name}.py", "NAME = 'mine'")
    assert quick(write("app.py", f"import {name}\nprint({name}.NAME)")).out == b"mine\n"


def test_app_and_lib(quick, write, tmp_path):
    write("files/data.txt", "data")
    write("files/beside.py", "NAME = 'from --app'")
    write("lib/python-stdlib/thing/manifest.py", "")
    write("lib/python-stdlib/thing/thing/part.py", "NAME = 'from --lib'")
    write("lib/python-stdlib/other/manifest.py", "")
    write("lib/python-stdlib/other/other.py", "raise Exception('nobody wants it')")
    script = write(
        "app.py",
        "import beside, os\nfrom thing import part\n"
        "print(beside.NAME, part.NAME, open('/app/data.txt').read(), os.listdir('/app'))",
    )
    result = quick("--app", tmp_path / "files", "--lib", tmp_path / "lib", script)
    assert result.out.startswith(b"from --app from --lib data [")
    assert b"other" not in result.out


def test_folders_that_are_not_there(quick):
    result = quick("--lib", "/no/such/lib", "-c", "")
    assert (result.code, result.err) == (125, b"mpfw: /no/such/lib: there is no such directory\n")


def test_environment(quick):
    code = "import os\nprint(os.environ, os.getenv('A'), os.getenv('B', 'no'))"
    result = quick("--env", "A=b=c d", "--env", "É=", "-c", code)
    assert eval(result.out.decode().partition("}")[0] + "}") == {"A": "b=c d", "É": ""}
    assert result.out.endswith(b"} b=c d no\n")
    assert quick("-c", "import os\nprint(os.environ, os.getcwd())").out == b"{} /\n"
    assert quick("--env", "A", "-c", "").err == b"mpfw: --env A: NAME=VALUE is wanted\n"


def test_arguments_that_no_guest_takes(quick):
    result = quick("-c", "", "x" * 65536)
    assert (result.code, result.out) == (125, b"")
    assert b"65537 bytes; a guest takes 65536" in result.err
    assert quick("-c", "import sys\nprint(len(sys.argv[1]))", "x" * 65535).out == b"65535\n"
    assert b"not UTF-8" in quick("-c", "", "\udcff").err


@pytest.mark.parametrize("name", ["a b/c d.py", "a,b/x,y.py", "'\"/$HOME.py", "d" * 200 + "/s.py"])
def test_paths_of_any_kind(seat, write, name):
    write(name.partition("/")[0] + "/helper.py", "NAME = 'helped'")
    script = write(name, "import helper\nprint(helper.NAME, __file__)\nraise ValueError\n")
    result = seat(script)
    assert (result.code, result.out.decode()) == (1, f"helped {script}\n")
    assert f'{script.name}", line 3' in result.err.decode()


def test_an_image_and_a_log_in_a_folder_of_any_name(seat, image, tmp_path):
    folder = tmp_path / ("with space, comma " + "x" * 180)
    folder.mkdir()
    (folder / "image.bin").symlink_to(image)
    words = ["--image", folder / "image.bin"]
    words += [] if seat.kind == "lab" else ["--log", folder / "log"]
    assert seat(*words, "-c", "print(1)").out == b"1\n"


def test_a_directory_for_temporary_files_of_any_name(seat):
    folder = seat.tmp / ("with space, comma " + "x" * 180)
    folder.mkdir()
    environment = {**seat.environment, "TMPDIR": str(folder)}
    assert seat("-c", "print(1)", env=environment).out == b"1\n"
    folder.rmdir()


def test_the_old_way_to_say_a_script(quick, write):
    assert quick("--script", write("app.py", SHOW), "one").out.endswith(b"'one'] __main__\n")


@pytest.mark.hosts("vhost-user", "device", "vhost-vsock", "lab")
def test_an_integer_socket_option(seat):
    code = """
import socket
s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
s.setsockopt(socket.AF_VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE, 65536)
print(s.getsockopt(socket.AF_VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE), socket.get_local_cid())
"""
    result = seat("--cid", 77, "-c", code)
    assert (result.code, result.out) == (0, b"65536 77\n")
