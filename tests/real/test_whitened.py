"""Steps in whitened coordinates: how general text is spread in them, and that a resumed run goes on as if it had never ended."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from finetuning.training.whitened import WhitenedAdamW, measured

SIZE, INNER = 32, 48


@pytest.fixture
def network():
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=64, hidden_size=SIZE, intermediate_size=INNER, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2
    )
    return get_peft_model(LlamaForCausalLM(config), LoraConfig(r=4, target_modules="all-linear"))


def spread(matrix, inputs):
    """How unevenly what a layer reads lies in the directions it uses: the largest variance in relation to the middle one."""
    values = torch.linalg.eigvalsh(matrix @ (inputs.t() @ inputs) @ matrix)
    return float(values[-1] / values.median())


def test_general_text_is_spread_evenly_in_whitened_coordinates(network):
    layer = network.get_submodule("base_model.model.model.layers.1.self_attn.q_proj")
    read = []
    layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].reshape(-1, SIZE).detach()))
    rows = [torch.randint(0, 64, (1, 40)) for _ in range(64)]
    pairs = measured(network, network, rows)
    matrix = next(matrix for one, matrix in pairs if one is layer.lora_A["default"].weight)
    inputs = torch.cat(read)
    assert spread(matrix, inputs) < 1.2 < 2 < spread(torch.eye(SIZE), inputs)
    assert torch.allclose((inputs @ matrix).square().mean(), inputs.square().mean(), rtol=0.01), "the steps stay as long as they were"


def test_what_few_tokens_say_is_hardly_followed(network):
    pairs = measured(network, network, [torch.randint(0, 64, (1, 3))])
    values = [torch.linalg.eigvalsh(matrix) for _, matrix in pairs]
    assert all(own[-1] / own[0] < 2 for own in values)


def test_layers_that_read_the_same_share_a_matrix(network):
    pairs = measured(network, network, [torch.randint(0, 64, (1, 40))])
    assert len(pairs) == 14
    # Of each of two layers: query, key and value; output; gate and up; down.
    assert len({id(matrix) for _, matrix in pairs}) == 8


def test_wide_inputs_are_left_as_they_are(network, monkeypatch):
    monkeypatch.setattr("finetuning.training.whitened.WIDEST", SIZE)
    assert len(measured(network, network, [torch.randint(0, 64, (1, 40))])) == 12


def test_a_resumed_optimizer_goes_on_as_if_it_had_never_ended():
    matrix = torch.diag(torch.tensor([0.1, 1.0, 10.0]))
    goal = torch.tensor([[1.0, -2.0, 3.0]])

    def begun(start):
        whitened, other = torch.nn.Parameter(torch.tensor([start])), torch.nn.Parameter(torch.ones(1))
        return whitened, other, WhitenedAdamW([(whitened, matrix)], [other], lr=0.05, weight_decay=0.01)

    def moved(whitened, other, optimizer, steps):
        for _ in range(steps):
            ((whitened - goal) * other).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return whitened.detach().clone(), other.detach().clone()

    whitened, other, optimizer = begun([0.5, 0.5, 0.5])
    assert torch.allclose(whitened, torch.tensor([[0.05, 0.5, 5.0]])), "a fresh adapter is what its coordinates stand for"
    moved(whitened, other, optimizer, 4)
    kept, weights = copy.deepcopy(optimizer.state_dict()), (whitened.detach().clone(), other.detach().clone())
    wanted = moved(whitened, other, optimizer, 4)
    again, fellow, resumed = begun([9.0, 9.0, 9.0])
    fellow.data.copy_(weights[1])
    resumed.load_state_dict(kept)
    assert torch.equal(again, weights[0])
    assert all(torch.equal(*pair) for pair in zip(moved(again, fellow, resumed, 4), wanted, strict=True))


def test_a_trained_adapter_stays_what_it_is_and_moves_in_whitened_coordinates():
    matrix = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 0.1]])
    weights = torch.nn.Parameter(torch.tensor([[0.5, -1.0, 2.0]]))
    optimizer = WhitenedAdamW([(weights, matrix)], [], trained=True, lr=0.1, weight_decay=0.0)
    assert torch.allclose(weights, torch.tensor([[0.5, -1.0, 2.0]]), atol=1e-6)
    weights.sum().backward()
    optimizer.step()
    # The first step of AdamW is one of length lr in each coordinate, against the gradient.
    assert torch.allclose(weights, torch.tensor([[0.5, -1.0, 2.0]]) - 0.1 * torch.ones(3) @ matrix, atol=1e-5)
