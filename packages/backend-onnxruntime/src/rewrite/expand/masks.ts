import { dataTypes } from '../../onnx/data-types.js';
import { axesOf, type Fused, number, places, refused } from './parts.js';

/**
 * What ONNX Runtime's operators add to the scores for a mask: of ones and zeros [B, keys] or [B, L, keys], or of the number of
 * keys in each row of the batch, [B].
 *
 * @param keys [B, heads, keys, d]
 */
export function emitMask(fused: Fused, mask: string, keys: string, filter: number, type: number): string {
  const { writer } = fused;
  const { dims, again } = axesOf(fused, mask);
  const batch = axesOf(fused, fused.node.input[0] as string);
  const isOfBatch = dims[0] === batch.dims[0] && again[0] === batch.again[0];
  if (!isOfBatch || dims.length > 3) throw refused(fused, `a mask of [${dims}]`);
  const ones = writer.op('Cast', [mask], { to: dataTypes.int64 });
  let seen: string;
  if (dims.length === 1) {
    const counts = writer.unsqueeze(writer.unsqueeze(writer.unsqueeze(ones, 1), 2), 3);
    seen = writer.op('Less', [places(fused, keys, 2, false), counts]);
  } else {
    const whole = writer.op('Greater', [ones, writer.i64(0)]);
    seen = writer.unsqueeze(dims.length === 2 ? writer.unsqueeze(whole, 1) : whole, 1);
  }
  return writer.op('Where', [seen, number(fused, 0, type), number(fused, filter, type)]);
}

/** The most negative number of an element type, with which these operators hide later keys. */
export function lowest(type: number): number {
  return type === dataTypes.float16 ? -65504 : -3.4028234663852886e38;
}
