import { createHash } from 'node:crypto';

/**
 * Labelled rows of symbols, packed into three arrays: no object per row. A symbol is a byte; the task says which id it
 * stands for. A row has one document, or two that are compared.
 */
export class Rows {
  /** One class per row. */
  readonly labels: Uint8Array;
  /** Where each document begins in `symbols`, and at the end where the last one ends. */
  readonly starts: Float64Array;
  readonly symbols: Uint8Array;
  readonly parts: 1 | 2;

  constructor(labels: Uint8Array, starts: Float64Array, symbols: Uint8Array, parts: 1 | 2) {
    this.labels = labels;
    this.starts = starts;
    this.symbols = symbols;
    this.parts = parts;
  }

  get length(): number {
    return this.labels.length;
  }

  label(row: number): number {
    return this.labels[row] as number;
  }

  /** The symbols of a document: a view. */
  document(row: number, part = 0): Uint8Array {
    const at = row * this.parts + part;
    return this.symbols.subarray(this.starts[at], this.starts[at + 1]);
  }

  /** Rows from `from` up to, not including, `to`: views. */
  slice(from: number, to: number): Rows {
    const [first, last] = [from * this.parts, to * this.parts];
    const begin = this.starts[first] as number;
    const starts = this.starts.slice(first, last + 1).map((start) => start - begin);
    const symbols = this.symbols.subarray(begin, this.starts[last]);
    return new Rows(this.labels.subarray(from, to), starts, symbols, this.parts);
  }

  /** SHA-256 over everything: two sets with one hash hold the same rows in the same order. */
  get hash(): string {
    const hash = createHash('sha256');
    const lengths = Uint32Array.from({ length: this.starts.length - 1 }, (_, at) => {
      return (this.starts[at + 1] as number) - (this.starts[at] as number);
    });
    hash.update(`${this.length} ${this.parts}\n`).update(this.labels);
    hash.update(new Uint8Array(lengths.buffer)).update(this.symbols);
    return hash.digest('hex').slice(0, 16);
  }
}

/** Gathers rows one by one. */
export class RowsBuilder {
  readonly #parts: 1 | 2;
  readonly #labels: number[] = [];
  readonly #starts: number[] = [0];
  #symbols = new Uint8Array(1 << 16);
  #length = 0;

  constructor(parts: 1 | 2 = 1) {
    this.#parts = parts;
  }

  get length(): number {
    return this.#labels.length;
  }

  add(label: number, ...documents: readonly Uint8Array[]): void {
    for (const document of documents) {
      this.#reserve(document.length);
      this.#symbols.set(document, this.#length);
      this.#length += document.length;
      this.#starts.push(this.#length);
    }
    this.#labels.push(label);
  }

  build(): Rows {
    return new Rows(
      Uint8Array.from(this.#labels),
      Float64Array.from(this.#starts),
      this.#symbols.slice(0, this.#length),
      this.#parts,
    );
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#symbols.length) return;
    const larger = new Uint8Array(Math.max(2 * this.#symbols.length, this.#length + more));
    larger.set(this.#symbols.subarray(0, this.#length));
    this.#symbols = larger;
  }
}

/** Rows in another order. */
export function reordered(rows: Rows, order: ArrayLike<number>): Rows {
  const builder = new RowsBuilder(rows.parts);
  for (const row of Array.from(order)) {
    const documents = rows.parts === 1 ? [rows.document(row)] : [rows.document(row), rows.document(row, 1)];
    builder.add(rows.label(row), ...documents);
  }
  return builder.build();
}

/** `count` rows in equal steps, in their order, or all: published files often hold one class after the other. */
export function spreadRows(rows: Rows, count: number): Rows {
  if (count >= rows.length) return rows;
  return reordered(
    rows,
    Array.from({ length: count }, (_, at) => Math.floor((at * rows.length) / count)),
  );
}
