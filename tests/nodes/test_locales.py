"""Chinese and Japanese: every title, name and tooltip of the schemas, and nothing else."""

import re

import pytest

from ..harness.translations import MAIN, NODES, TEXTS, Translator, languages, read, translate

CORE_NAMES = {
    "Load Video": ("加载视频", "ビデオを読み込む"),
    "Train LoRA": ("训练 LoRA", "LoRA学習"),
    "Load CLIP Vision": ("加载CLIP视觉", "CLIPビジョンを読み込む"),
    "Save Video": ("保存视频", "ビデオを保存"),
    "Load CLIP": ("加载CLIP", "CLIPを読み込む"),
    "Load Diffusion Model": ("UNet加载器", "拡散モデルを読み込む"),
    "Set Latent Noise Mask": ("设置Latent噪波遮罩", "潜在ノイズマスクを設定"),
    "SamplerCustomAdvanced": ("自定义采样器（高级）", "カスタムサンプラー（高度）"),
}
"""What ComfyUI's own translations call its nodes, by language."""
SAME = {"cfg", "fps", "VAE", "CLIP", "Latent", "SAMA"}
"""Names that stay as they are."""
NUMBER = re.compile(r"\d+(?:\.\d+)*")
LITERAL = re.compile(r"\S*(?:models/|_)[\w./]+|\[Video edit\]|\b(?:nan|GGUF|fp8|mp4|VIDEO|IMAGE)\b")
SCRIPT = {"zh": re.compile(r"[\u4e00-\u9fff]"), "ja": re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")}
ENGLISH = re.compile(r"(?<![a-z])(?:the|of|and|is|are|with|from)(?![a-z])", re.IGNORECASE)

each_language = pytest.mark.parametrize("language", ["zh", "ja"])


@pytest.fixture(scope="module")
def schemas(comfyui, pack):
    return [comfyui.node_class(name).define_schema() for name in pack.node_ids]


def test_languages():
    assert languages() == ["ja", "zh"]


@each_language
def test_every_text_of_the_schemas_is_translated_and_no_other(schemas, language):
    """A tooltip that changes has no translation until someone makes it anew."""
    to = Translator(read(language, TEXTS))
    translate(schemas, to)
    assert to.missing == [] and to.left_over() == []


@each_language
def test_the_files_that_comfyui_reads_are_made_from_them(schemas, language):
    """`python -m tests.harness.translations` writes them."""
    nodes, main = translate(schemas, Translator(read(language, TEXTS)))
    assert read(language, NODES) == nodes and read(language, MAIN) == main


@each_language
def test_numbers_and_names_of_files_and_settings_are_the_originals(language):
    for english, translated in read(language, TEXTS)["texts"].items():
        assert sorted(NUMBER.findall(translated)) == sorted(NUMBER.findall(english)), english
        for literal in LITERAL.findall(english):
            assert literal.strip("(,;.") in translated, (literal, english)


@each_language
def test_nodes_are_called_as_they_are_called_in_the_language(language):
    """Ours by the translated title, ComfyUI's by its own translation."""
    table, column = read(language, TEXTS), ["zh", "ja"].index(language)
    titles = table["titles"] | {name: both[column] for name, both in CORE_NAMES.items()}
    mentioned = re.compile("|".join(sorted(map(re.escape, titles), key=len, reverse=True)))
    found = 0
    for english, translated in table["texts"].items():
        for name in mentioned.findall(english):
            assert titles[name] in translated, (name, english)
            found += 1
    assert found > 30


@each_language
def test_it_is_the_language_and_safe_for_the_frontend(language):
    """vue-i18n would read @, {} and | as commands."""
    table = read(language, TEXTS)
    assert len(set(table["titles"].values())) == len(table["titles"])
    for group in table.values():
        for english, translated in group.items():
            assert translated == translated.strip() and not set("@{}|") & set(translated)
            assert SCRIPT[language].search(translated) or translated in SAME, english
            assert not ENGLISH.search(translated)


def test_a_text_without_translation_and_one_without_original_are_noticed(schemas):
    table = read("zh", TEXTS)
    table["texts"]["Gone."] = table["texts"].pop("The instruction.")
    table["names"]["gone"] = table["names"].pop("shift")
    to = Translator(table)
    translate(schemas, to)
    assert set(to.missing) == {"texts: The instruction.", "names: shift"}
    assert to.left_over() == ["names: gone", "texts: Gone."]
