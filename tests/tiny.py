"""A real but tiny model and tokenizer, built in seconds, for tests."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

# A model this small only loses time to a second thread, most of all when other tests run beside it.
torch.set_num_threads(1)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

# The shape of SmolLM2's own template: ChatML with a default system prompt.
CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
    "{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CORPUS = [
    "You are a helpful assistant. system user assistant",
    "What is the capital of France? The capital of France is Paris.",
    "Write a short poem about the sea and the wind that blows over it.",
    "I'm sorry, but I can't help with that request. I cannot assist you.",
    "Sure, here are the steps: 1. Take the flour. 2. Add the water. 3. Wait for an hour.",
    "Explain in one sentence why the sky is blue and why the grass is green.",
    "List three things that people eat in the morning: bread, eggs and fruit.",
    "def add(a, b):\n    return a + b\n",
    "How many days are there in a week? Seven. What colour is snow? White.",
]


def tiny_tokenizer(vocab_size: int = 512, chat_template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer (any text round-trips); pad and end-of-turn are ``<|im_end|>``."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        model_max_length=2048,
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def tiny_model(vocab_size: int, tied: bool = True, seed: int = 0) -> LlamaForCausalLM:
    """A random Llama, hidden 32, 2 layers, grouped-query attention (4 heads over 2), in eval mode."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        # A larger spread than the default 0.02, so that random logits are not all alike.
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


def tiny_model_folder(
    tmp_path: Path,
    tied: bool = True,
    seed: int = 0,
    chat_template: str | None = CHATML,
    name: str = "tiny-llama",
) -> Path:
    """Save config, safetensors and a fast tokenizer to ``tmp_path / name`` and return that folder."""
    folder = tmp_path / name
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer(chat_template=chat_template)
    tiny_model(len(tokenizer), tied=tied, seed=seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
