"""The reference's codebooks: k-means, product and residual quantization, one number at a time."""

from heterrec_schemas.testing.reference_values import Row, float32

BOOK_SAMPLE = 65_536
CODES = 256
ITERATIONS = 20
LARGEST = float32(3.4028234663852886e38)
Vector = list[float]
Book = list[Vector]


def nearest(vector: Vector, book: Book) -> int:
    """The position of the nearest centroid; the first of several."""
    return min(range(len(book)), key=lambda code: distance(vector, book[code]))


def distance(a: Vector, b: Vector) -> float:
    """The sum of squared differences, one after the other."""
    total = 0.0
    for x, y in zip(a, b, strict=True):
        total += (x - y) * (x - y)
    return total


def rounded(vector: Vector) -> Vector:
    """The nearest float32, at most its largest; -0.0 is +0.0."""
    return [float32(max(-LARGEST, min(LARGEST, x))) + 0.0 for x in vector]


def k_means(vectors: list[Vector], codes: int) -> Book:
    """The centroids of vectors in the order of the sample."""
    book: Book = []
    for vector in map(rounded, vectors):
        if vector not in book and len(book) < codes:
            book.append(vector)
    for _ in range(ITERATIONS):
        chosen = [nearest(vector, book) for vector in vectors]
        for code in range(len(book)):
            mine = [v for v, c in zip(vectors, chosen, strict=True) if c == code]
            if not mine:
                continue
            sums = [0.0] * len(mine[0])
            for vector in mine:
                sums = [s + x for s, x in zip(sums, vector, strict=True)]
            book[code] = rounded([s / len(mine) for s in sums])
    return book


def fit_books(feature: Row, vectors: list[Vector]) -> list[Book]:
    """The codebooks of a feature, from its sample in order."""
    codes, books = feature.get("codes", CODES), []
    if feature["quantizer"] == "pq":
        return [
            k_means([cut(v, feature)[g] for v in vectors], codes) for g in range(feature["groups"])
        ]
    for _ in range(feature["levels"]):
        books.append(k_means(vectors, codes))
        vectors = [left(vector, books[-1]) for vector in vectors]
    return books


def cut(vector: Vector, feature: Row) -> list[Vector]:
    """The groups of a vector."""
    width = feature["dim"] // feature["groups"]
    return [vector[k : k + width] for k in range(0, feature["dim"], width)]


def left(vector: Vector, book: Book) -> Vector:
    """What the nearest centroid leaves of a vector."""
    return [x - c for x, c in zip(vector, book[nearest(vector, book)], strict=True)]


def book_tokens(feature: Row, vector: Vector, books: list[Book]) -> list[int]:
    """The tokens of a vector."""
    if feature["quantizer"] == "pq":
        return [2 + nearest(v, b) for v, b in zip(cut(vector, feature), books, strict=True)]
    tokens = []
    for book in books:
        tokens.append(2 + nearest(vector, book))
        vector = left(vector, book)
    return tokens
