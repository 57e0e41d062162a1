"""Bases of other families, made here with random weights: each trains, is saved and answers, with its own chat template or PZ2's."""

import json

import pytest
import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config

from assistant.core import files, settings
from assistant.core.errors import ModelError
from assistant.core.paths import Paths, prepare
from assistant.core.values import Message, Sampling
from assistant.engine import base as engines
from assistant.engine.template import chat_format

from .learning import ROWS, learned, write_rows

MARKS = "You are a careful helper. user system assistant <|im_start|> <|im_end|> [INST] [/INST]"
TEXT = [*(part for row in ROWS for part in row), MARKS] * 20
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 1024}
OWN = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('No system role.') }}{% endif %}"
    "{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]{% else %} {{ message['content'] }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
TURNS = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def bpe(folder, specials, **names):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=400, special_tokens=specials, initial_alphabet=alphabet))
    template = names.pop("template", None)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    made.chat_template = template
    made.save_pretrained(str(folder))
    return len(made)


def pieces(folder):
    """A SentencePiece model as Llama 2 has one, without a tokenizer.json."""
    (folder / "text.txt").write_text("\n".join(TEXT), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "text.txt").unlink()
    (folder / "tokenizer.vocab").unlink()
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    files.write_json(folder / "tokenizer_config.json", config)
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model")).get_piece_size()


def network(folder, config, dtype):
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).to(dtype).save_pretrained(str(folder))


def llama(folder):
    words = bpe(folder, ["<s>", "</s>"], bos_token="<s>", eos_token="</s>", template=OWN)
    config = LlamaConfig(vocab_size=words, num_key_value_heads=2, intermediate_size=96, bos_token_id=0, eos_token_id=1, **SMALL)
    network(folder, config, torch.float32)


def qwen(folder):
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    # The marks of its turns are special tokens without a name, as in Llama 3.
    words = bpe(folder, specials, eos_token="<|endoftext|>", template=TURNS)
    config = Qwen2Config(vocab_size=words, num_key_value_heads=2, intermediate_size=96, tie_word_embeddings=True, eos_token_id=0, **SMALL)
    network(folder, config, torch.float16)


def gpt2(folder):
    words = bpe(folder, ["<|endoftext|>"], bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    config = GPT2Config(vocab_size=words, n_embd=64, n_layer=2, n_head=4, n_positions=1024, bos_token_id=0, eos_token_id=0)
    network(folder, config, torch.float32)


def llama2(folder):
    words = pieces(folder)
    network(folder, LlamaConfig(vocab_size=words, num_key_value_heads=4, intermediate_size=96, **SMALL), torch.float16)


BASES = {"llama": llama, "qwen": qwen, "gpt2": gpt2, "sentencepiece": llama2}


@pytest.fixture(scope="module")
def root_of(tmp_path_factory):
    made = {}

    def root(kind) -> Paths:
        if kind not in made:
            paths = Paths(tmp_path_factory.mktemp(kind))
            prepare(paths)
            folder = paths.root / f"tiny-{kind}"
            folder.mkdir()
            BASES[kind](folder)
            files.write_text(paths.models / "settings.yaml", f"base: {json.dumps(str(folder))}\nchat:\n  context_tokens: 512\n")
            write_rows(paths)
            made[kind] = paths
        return made[kind]

    return root


def engine_of(paths):
    configured = settings.load(paths)
    base = engines.base_of(configured, paths)
    return engines.make(engines.engine_name(configured, base), base, configured, paths)


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize(
    ("method", "rate", "frozen"), [("lora", 0.001, 0.0), ("lora", 0.001, 0.5), ("ia3", 0.2, 0.0), ("full", 0.0003, 0.0)]
)
def test_a_base_of_another_family_trains_is_saved_and_answers(root_of, kind, method, rate, frozen):
    paths = root_of(kind)
    adapter, work, outcome = learned(paths, method=method, learning_rate=rate, frozen_share=frozen)
    engine = engine_of(paths)
    assert engine.name == "hf"
    engine.set_adapters([adapter])
    pairs = [(row.ids[: row.prompt], row.ids[row.prompt :]) for row in work.judged]
    before, after = engine.score(pairs, None), engine.score(pairs, adapter.key)
    assert sum(map(sum, after)) > sum(map(sum, before))
    loss = -sum(map(sum, after)) / sum(map(len, after))
    assert loss == pytest.approx(outcome.validation_after, abs=0.05)
    assert [token.id for token in engine.stream(pairs[0][0], adapter.key, Sampling(max_tokens=3), lambda: False)]
    assert not (adapter.folder / "adapter.gguf").exists()
    engine.release()


@pytest.mark.parametrize(("kind", "borrowed"), [("llama", False), ("qwen", False), ("gpt2", True), ("sentencepiece", True)])
def test_a_prompt_is_written_by_the_bases_own_template_or_by_ours(root_of, kind, borrowed):
    paths = root_of(kind)
    chat = chat_format(engines.base_of(settings.load(paths), paths), paths)
    assert chat.borrowed is borrowed
    shown = chat.tokenizer.decode(chat.encode([Message("system", "Be brief."), Message("user", "What is a byte?")]))
    assert "Be brief." in shown and "What is a byte?" in shown
    if borrowed:
        assert "assistant" in shown
    assert chat.decode(chat.encode_answer("A byte is eight bits.")[:-1]) == "A byte is eight bits."


def test_an_answer_ends_as_the_template_ends_it(root_of):
    def end(kind):
        paths = root_of(kind)
        chat = chat_format(engines.base_of(settings.load(paths), paths), paths)
        return chat.tokenizer.convert_ids_to_tokens(chat.encode_answer("Yes.")[-1])

    assert [end(kind) for kind in BASES] == ["</s>", "<|im_end|>", "<|endoftext|>", "</s>"]


def test_what_a_person_types_never_becomes_a_mark_of_the_template(root_of):
    for kind in BASES:
        paths = root_of(kind)
        chat = chat_format(engines.base_of(settings.load(paths), paths), paths)
        plain = chat.encode([Message("system", "Be brief."), Message("user", "Hi")])
        typed = chat.encode([Message("system", "Be brief."), Message("user", "Hi<|im_end|></s><|endoftext|>")])
        marks = {number for number, token in chat.tokenizer.added_tokens_decoder.items() if token.special}
        assert [token for token in typed if token in marks] == [token for token in plain if token in marks]


def test_a_tokenizer_that_cannot_be_read_is_a_sentence(root_of, tmp_path):
    (tmp_path / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="tokenizer of"):
        chat_format(engines.Base("none", str(tmp_path)), root_of("llama"))
