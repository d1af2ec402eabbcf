"""Reading characters from a photograph.

You learn the classical way to read: find what is ink, cut out what hangs together (connected
components, in a few lines of tensor code), bring each piece to one size, and let a classifier
name it. The photograph is a made one: digits of the test set, enlarged, on paper with shadow and
noise. Takes fifteen seconds.
"""

import torch
from common import batches, digits, options, pyplot, save, show
from torch import nn

SIDE = 32  # pixels of a digit on the sheet


def photograph_of(images, rows):
    """A sheet with these digits (N, 1, 8, 8), `rows` lines of them; H, W from 0 to 1.

    Ink is dark, the paper bright, but less so to the right and below, where a shadow falls.
    """
    columns = len(images) // rows
    large = nn.functional.interpolate(images, size=SIDE, mode="bilinear", align_corners=False)
    cell = SIDE + 20
    ink = torch.zeros(rows * cell, columns * cell)
    for number, digit in enumerate(large[: rows * columns]):
        top = number // columns * cell + int(torch.randint(4, 16, ()))
        left = number % columns * cell + int(torch.randint(4, 16, ()))
        ink[top : top + SIDE, left : left + SIDE] = digit[0]
    height, width = ink.shape
    shadow = torch.linspace(0.95, 0.65, width) * torch.linspace(1, 0.85, height).unsqueeze(1)
    sheet = shadow * (1 - 0.75 * ink) + 0.02 * torch.randn(height, width)
    return sheet.clamp(0, 1)


def find_ink(sheet, window=41):
    """How much darker than the paper around it each pixel is, from 0 to 1, and where that is ink.

    The paper's brightness is the mean of the brightest pixels of the neighbourhood: a shadow is
    slow, a stroke is not.
    """
    image = sheet[None, None]  # 1, 1, H, W
    smooth = nn.functional.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
    paper = nn.functional.max_pool2d(smooth, window, stride=1, padding=window // 2)
    paper = nn.functional.avg_pool2d(
        paper, window, stride=1, padding=window // 2, count_include_pad=False
    )
    darkness = ((paper - smooth) / paper / 0.75).clamp(0, 1)[0, 0]  # H, W
    return darkness, darkness > 0.25


def connected_components(ink):
    """Number the pieces of `ink` (H, W, bool): two pixels that touch get one number.

    At first each pixel of ink has a number of its own. Then every pixel takes the largest number
    around it, again and again, until nothing changes. A 3 x 3 maximum is a pooling.
    """
    numbers = torch.arange(1, ink.numel() + 1, dtype=torch.float32).reshape(ink.shape) * ink
    while True:
        spread = nn.functional.max_pool2d(numbers[None, None], 3, stride=1, padding=1)[0, 0] * ink
        if torch.equal(spread, numbers):
            return numbers.long()
        numbers = spread


def cut_out(darkness, ink):
    """The pieces as images (N, 1, 8, 8), with their boxes (top, bottom, left, right), as read."""
    # Strokes that nearly touch belong together: the ink is widened before it is numbered.
    wide = nn.functional.max_pool2d(ink[None, None].float(), 5, stride=1, padding=2)[0, 0] > 0
    numbers = connected_components(wide)
    boxes = []
    for number in numbers.unique().tolist():
        rows, columns = torch.where((numbers == number) & ink)
        if number == 0 or len(rows) < 30:  # the paper, and specks of dirt
            continue
        boxes.append((rows.min().item(), rows.max().item() + 1,
                      columns.min().item(), columns.max().item() + 1))  # fmt: skip
    # Lines from above, in each line from the left: a box that begins below the middle of the
    # line's first box begins a new line.
    boxes.sort()
    lines = []
    for box in boxes:
        if not lines or box[0] > (lines[-1][0][0] + lines[-1][0][1]) / 2:
            lines.append([])
        lines[-1].append(box)
    boxes = [box for line in lines for box in sorted(line, key=lambda box: box[2])]
    return torch.stack([to_size(darkness[t:b, left:r]) for t, b, left, r in boxes]), boxes, lines


def to_size(piece):
    """A piece (h, w) as an image (1, 8, 8): centred, and as large as fits."""
    height, width = piece.shape
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    square = nn.functional.pad(piece, (left, side - width - left, top, side - height - top))
    return nn.functional.adaptive_avg_pool2d(square[None, None], 8)[0]


def train(images, labels, epochs):
    """A small classifier. What it learns from is cut out as it will be from the photograph."""
    pieces = []
    large = nn.functional.interpolate(images, size=SIDE, mode="bilinear", align_corners=False)
    for image in large[:, 0]:
        rows, columns = torch.where(image > 0.25)
        pieces.append(
            to_size(image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
        )
    images = torch.stack(pieces)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(epochs):
        total = 0.0
        for chosen in batches(len(labels), 32):
            noisy = images[chosen] + 0.05 * torch.randn(len(chosen), 1, 8, 8)
            loss = nn.functional.cross_entropy(model(noisy), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        print(f"epoch {epoch + 1:2}  loss {total / len(labels):.4f}")
    return model.eval()


def main():
    arguments = options(__doc__, epochs=10).parse_args()
    torch.manual_seed(0)
    train_images, train_labels, test_images, test_labels = digits()
    epochs, rows, count = arguments.epochs, 5, 60
    if arguments.quick:
        train_images, train_labels, epochs, rows, count = (
            train_images[:300], train_labels[:300], 1, 2, 12)  # fmt: skip
    model = train(train_images, train_labels, epochs)

    torch.manual_seed(1)
    chosen = torch.randperm(len(test_labels))[:count]
    sheet = photograph_of(test_images[chosen], rows)
    darkness, ink = find_ink(sheet)
    pieces, boxes, lines = cut_out(darkness, ink)
    with torch.no_grad():
        read = model(pieces).argmax(dim=1).tolist()
    text = "".join(map(str, read))
    truth = "".join(map(str, test_labels[chosen].tolist()))
    print(f"{len(boxes)} pieces in {len(lines)} lines")
    columns = count // rows
    for line in range(rows):
        part = slice(line * columns, (line + 1) * columns)
        print(f"  written {truth[part]}   read {text[part]}")
    right = sum(a == b for a, b in zip(text, truth, strict=False))

    plot = pyplot()
    if plot:
        figure, axes = plot.subplots(3, 1, figsize=(7.5, 10.2))
        show(axes[0], sheet, "the photograph", vmin=0, vmax=1)
        colours = connected_components(ink) % 19 + 1
        show(axes[1], colours * ink, "ink, in pieces that hang together", cmap="nipy_spectral")
        show(axes[2], sheet, f"read: {right} of {count} are right", vmin=0, vmax=1)
        for number, (top, bottom, left, end) in enumerate(boxes):
            good = number < len(truth) and text[number] == truth[number]
            color = "C0" if good else "C3"
            axes[2].add_patch(
                plot.Rectangle((left, top), end - left, bottom - top, fill=False, color=color)
            )
            axes[2].text(end + 1, top + 6, text[number], color=color, weight="bold")
        save(figure, arguments.pictures, __file__)
    print(f"Result: pieces {len(boxes)}, right {right} of {count}")


if __name__ == "__main__":
    main()
