import { type Numbers, numbersOf, type ReferenceMemory, type ReferenceTensor } from './storage.js';

/** Rows, columns and strides of the last two axes, as seen after an optional transpose. */
interface MatrixView {
  readonly rows: number;
  readonly columns: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

function matrixOf(x: ReferenceTensor, transposed: boolean): MatrixView {
  const rows = x.shape[x.shape.length - 2] as number;
  const columns = x.shape[x.shape.length - 1] as number;
  return transposed
    ? { rows: columns, columns: rows, rowStride: 1, columnStride: columns }
    : { rows, columns, rowStride: columns, columnStride: 1 };
}

/** One matrix as f64 in row-major order: the inner loop then reads contiguous elements, whatever was transposed. */
function pack(numbers: Numbers, start: number, matrix: MatrixView, packed: Float64Array): void {
  let position = 0;
  for (let i = 0; i < matrix.rows; i++) {
    for (let j = 0; j < matrix.columns; j++) {
      packed[position++] = numbers[start + i * matrix.rowStride + j * matrix.columnStride] as number;
    }
  }
}

/** row[j] += sum over p of factors[p] * matrix[p, j], added in the order of p. */
function addProduct(row: Float64Array, factors: Float64Array, matrix: Float64Array): void {
  const columns = row.length;
  let p = 0;
  // Four rows of the matrix at a time: half the time, since `row` is read and written less often.
  for (; p + 4 <= factors.length; p += 4) {
    const [a, b, c, d] = [factors[p], factors[p + 1], factors[p + 2], factors[p + 3]] as [
      number,
      number,
      number,
      number,
    ];
    let at = p * columns;
    for (let j = 0; j < columns; j++, at++) {
      const first = (row[j] as number) + a * (matrix[at] as number) + b * (matrix[at + columns] as number);
      row[j] = first + c * (matrix[at + 2 * columns] as number) + d * (matrix[at + 3 * columns] as number);
    }
  }
  for (; p < factors.length; p++) {
    const factor = factors[p] as number;
    for (let j = 0; j < columns; j++) {
      row[j] = (row[j] as number) + factor * (matrix[p * columns + j] as number);
    }
  }
}

/** c[i, j] = sum over p of a[i, p] * b[p, j], summed in f64 in the order of p and rounded once. */
export function matmul(
  memory: ReferenceMemory,
  a: ReferenceTensor,
  b: ReferenceTensor,
  transposeA: boolean,
  transposeB: boolean,
): ReferenceTensor {
  const left = matrixOf(a, transposeA);
  const right = matrixOf(b, transposeB);
  const batchShape = (a.shape.length >= b.shape.length ? a : b).shape.slice(0, -2);
  const batches = batchShape.reduce((size, extent) => size * extent, 1);
  // A rank-2 operand is the same matrix for every batch.
  const aBatchStride = a.shape.length === 2 ? 0 : left.rows * left.columns;
  const bBatchStride = b.shape.length === 2 ? 0 : right.rows * right.columns;
  const aNumbers = numbersOf(a);
  const bNumbers = numbersOf(b);
  return memory.make([...batchShape, left.rows, right.columns], a.dtype, (out) => {
    const row = new Float64Array(right.columns);
    const factors = new Float64Array(left.columns);
    const packed = new Float64Array(right.rows * right.columns);
    let position = 0;
    for (let batch = 0; batch < batches; batch++) {
      if (batch === 0 || bBatchStride > 0) pack(bNumbers, batch * bBatchStride, right, packed);
      for (let i = 0; i < left.rows; i++) {
        row.fill(0);
        for (let p = 0; p < left.columns; p++) {
          factors[p] = aNumbers[batch * aBatchStride + i * left.rowStride + p * left.columnStride] as number;
        }
        addProduct(row, factors, packed);
        for (let j = 0; j < row.length; j++) out[position++] = row[j] as number;
      }
    }
  });
}
