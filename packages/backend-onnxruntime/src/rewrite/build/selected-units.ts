import { dataTypes } from '../../onnx/data-types.js';
import { emitBestKeys } from './best-keys.js';
import type { NodeWriter } from './node-writer.js';

/** Which units of a feed-forward layer are kept: those furthest from zero, or the largest. */
export type Selection = 'magnitude' | 'signed';

/** The k best units of each token: their values and places, [tokens, k] each. */
export interface BestUnits {
  readonly values: string;
  readonly places: string;
}

/** @param units [tokens, hidden], float32, with more than k units. */
export function emitBestUnits(
  writer: NodeWriter,
  units: string,
  hidden: number,
  k: number,
  select: Selection,
  isPlain: boolean,
): BestUnits {
  const ranked = select === 'signed' ? units : writer.op('Abs', [units]);
  const count = { count: writer.i64(hidden), least: hidden, most: hidden };
  const [best, places] = emitBestKeys(writer, ranked, dataTypes.float, 2, k, count, isPlain);
  if (select === 'signed') return { values: best, places };
  const starts = writer.op('Mul', [writer.range(writer.extent(units, 0)), writer.i64(hidden)]);
  const at = writer.op('Add', [places, writer.unsqueeze(starts, 1)]);
  const flat = writer.op('Reshape', [units, writer.i64([-1])]);
  return { values: writer.op('Gather', [flat, at], { axis: 0 }), places };
}

/** [tokens, hidden] with the kept units at their places, and zero elsewhere. */
export function emitScattered(writer: NodeWriter, units: string, { values, places }: BestUnits): string {
  const zero = { dataType: dataTypes.float, dims: [1], rawData: new Uint8Array(4) };
  const none = writer.op('ConstantOfShape', [writer.op('Shape', [units])], { value: { tensor: zero } });
  return writer.op(writer.opset < 11 ? 'Scatter' : 'ScatterElements', [none, places, values], { axis: 1 });
}
