import { formatBytes, formatShape, type Shape, sizeOf } from '@topk-attention/core';
import { type Declared, requireDeclared } from './declaration.js';

export interface SummaryRow {
  readonly name: string;
  readonly shape: Shape;
  /** Elements. */
  readonly count: number;
  /** As f32. */
  readonly bytes: number;
  readonly trainable: boolean;
}

/** Sizes of a layer's parameters. `String(summary)` is a table. */
export interface Summary {
  readonly rows: readonly SummaryRow[];
  /** Total elements. */
  readonly count: number;
  /** Elements of the trainable parameters. */
  readonly trainable: number;
  readonly bytes: number;
  toString(): string;
}

/**
 * Names, shapes and sizes of a layer's parameters, and their totals. Needs no backend.
 *
 * @param isTrainable by name, as returned by `trainableExcept`. Default: all except buffers.
 * @throws TopKError INVALID_OPTION for what is no layer, such as a tree of parameters.
 *
 * @example
 * console.log(String(summary(linearLayer(3, 2))));
 */
export function summary(
  layer: Declared,
  isTrainable: (name: string) => boolean = (name) => layer.parameters[name]?.trainable !== false,
): Summary {
  const parameters = requireDeclared('summary', layer);
  const rows = Object.entries(parameters).map(([name, { shape }]): SummaryRow => {
    const count = sizeOf(shape);
    return { name, shape, count, bytes: 4 * count, trainable: isTrainable(name) };
  });
  const total = (of: readonly SummaryRow[]): number => of.reduce((all, { count }) => all + count, 0);
  const count = total(rows);
  const trainable = total(rows.filter((row) => row.trainable));
  return { rows, count, trainable, bytes: 4 * count, toString: () => tableOf(rows, count, trainable) };
}

function tableOf(rows: readonly SummaryRow[], count: number, trainable: number): string {
  const cells = [
    ['name', 'shape', 'count', 'bytes', ''],
    ...rows.map((row) => [
      row.name,
      formatShape(row.shape),
      String(row.count),
      formatBytes(row.bytes),
      row.trainable ? '' : 'frozen',
    ]),
    ['all', '', String(count), formatBytes(4 * count), trainable === count ? '' : `${trainable} trainable`],
  ];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          return column === 2 || column === 3 ? cell.padStart(width) : cell.padEnd(width);
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
