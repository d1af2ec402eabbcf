"""A recurrent network reads images, one row after the other.

You learn to see an image as a sequence: eight steps of eight pixels. An RNN, an LSTM and a GRU
each keep a memory from row to row and name the digit at the end. Takes fifteen seconds.
"""

import time

import torch
from common import batches, digits, options, pyplot, save, show
from torch import nn


class Reader(nn.Module):
    def __init__(self, kind, hidden=48):
        super().__init__()
        self.memory = kind(input_size=8, hidden_size=hidden, batch_first=True)
        self.name = nn.Linear(hidden, 10)

    def forward(self, images):  # N, 1, 8, 8
        rows = images.squeeze(1)  # N, 8 steps, 8 pixels
        outputs, _ = self.memory(rows)  # N, 8, hidden: the memory after each row
        return self.name(outputs)  # N, 8, 10: an answer after each row


def main():
    arguments = options(__doc__, epochs=12).parse_args()
    epochs = 1 if arguments.quick else arguments.epochs
    train_images, train_labels, test_images, test_labels = digits()
    if arguments.quick:
        train_images, train_labels = train_images[:320], train_labels[:320]

    accuracies, by_row = {}, {}
    for name, kind in {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}.items():
        torch.manual_seed(0)
        model = Reader(kind)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        accuracies[name] = []
        start = time.perf_counter()
        for _ in range(epochs):
            for chosen in batches(len(train_labels), 32):
                answers = model(train_images[chosen])[:, -1]  # only the last one counts
                loss = nn.functional.cross_entropy(answers, train_labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
            with torch.no_grad():
                scores = model(test_images)  # N, 8, 10
            right = (scores.argmax(dim=2) == test_labels.unsqueeze(1)).float().mean(dim=0)  # 8
            accuracies[name].append(right[-1].item())
        by_row[name] = right.tolist()
        parameters = sum(p.numel() for p in model.parameters())
        print(f"{name:<5} {parameters:6,} parameters  loss {loss.item():.4f}  accuracy "
              f"{accuracies[name][-1]:.4f}  {time.perf_counter() - start:.1f} s")  # fmt: skip

    plot = pyplot()
    if plot:
        figure, (left, middle, right) = plot.subplots(
            1, 3, figsize=(12, 3.8), width_ratios=[2, 2, 1.2]
        )
        for name, values in accuracies.items():
            left.plot(range(1, epochs + 1), values, "o-", label=name)
            middle.plot(range(1, 9), by_row[name], "o-", label=name)
        left.set(title="accuracy on new digits", xlabel="epoch", ylim=(0, 1.02))
        left.legend(loc="lower right")
        middle.set(title="if asked after fewer rows", xlabel="rows read", ylim=(0, 1.02))
        show(right, test_images[2], "the GRU, row by row")
        with torch.no_grad():
            shares = model(test_images[2:3])[0].softmax(dim=1)  # 8, 10
        for row, share in enumerate(shares):
            text = f"{share.argmax().item()}  ({share.max().item():.0%})"
            right.text(8, row, text, va="center", size="small")
        save(figure, arguments.pictures, __file__)
    ends = ", ".join(f"{name} {values[-1]:.4f}" for name, values in accuracies.items())
    print(f"Result: {ends}")


if __name__ == "__main__":
    main()
