"""Archives of ramdisks: equal trees make equal bytes, and no file gives privileges."""

from pathlib import Path

from scripts.image.ramdisk import Tree


def test_archives_depend_on_content_alone(tmp_path: Path) -> None:
    trees = []
    for name in ("first", "second"):
        root = tmp_path / name
        for file in sorted(("b", "a/c"), reverse=name == "second"):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(file)
        tree = Tree()
        tree.copy(root, "root")
        trees.append(tree.encode())
    assert trees[0] == trees[1]
    assert len(trees[0]) % 512 == 0


def test_archives_keep_only_the_executable_bit(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"x")
    encodings = []
    for mode in (0o600, 0o644, 0o700, 0o755):
        (tmp_path / "tool").chmod(mode)
        tree = Tree()
        tree.copy(tmp_path, "")
        encodings.append(tree.encode())
    assert encodings[0] == encodings[1] != encodings[2] == encodings[3]


def test_archives_do_not_depend_on_the_order_of_their_making() -> None:
    names = ["init", "bin/busybox", "modules.d/nsm.ko"]
    trees = []
    for order in (names, names[::-1]):
        tree = Tree()
        for name in order:
            tree.file(name, name.encode())
        trees.append(tree.encode())
    assert trees[0] == trees[1]


def test_nothing_in_the_image_gives_privileges(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"x")
    (tmp_path / "program").chmod(0o6777)
    tree = Tree()
    tree.copy(tmp_path, "")
    archive = tree.encode()
    # The mode of the one file, in the newc header before its name.
    mode = int(archive[14:22], 16)
    assert mode == 0o100755
