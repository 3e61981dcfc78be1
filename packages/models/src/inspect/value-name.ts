import { describeValue, TopKError } from '@topk-attention/core';

/** A value vector: a row of a feed-forward layer's output weights, which its hidden unit multiplies. */
export interface ValueName {
  /** The layer's number in its stack, from 0. */
  readonly layer: number;
  /** The hidden unit, from 0. */
  readonly unit: number;
}

/**
 * Reads a name such as 'L3D17': layer 3, hidden unit 17. Small letters will do.
 *
 * @throws TopKError INVALID_OPTION for anything else
 */
export function parseValueName(text: string): ValueName {
  const [, layer, unit] =
    (typeof text === 'string' ? /^l(\d{1,9})d(\d{1,9})$/i.exec(text.trim()) : null) ?? [];
  if (layer !== undefined && unit !== undefined) return { layer: Number(layer), unit: Number(unit) };
  throw new TopKError('INVALID_OPTION', 'parseValueName: not the name of a value vector', {
    expected: 'L, a layer, D and a hidden unit, such as L3D17',
    got: describeValue(text),
  });
}

/** 'L3D17' */
export function formatValueName({ layer, unit }: ValueName): string {
  return `L${layer}D${unit}`;
}

/** @throws TopKError INVALID_OPTION for a layer or a unit that the stack lacks. */
export function checkValueName(
  where: string,
  { layer, unit }: ValueName,
  layers: number,
  units: number,
): void {
  checkWithin(where, 'layer', layer, layers);
  checkWithin(where, 'unit', unit, units);
}

/** @throws TopKError INVALID_OPTION for anything but a whole number from 0 to count - 1. */
export function checkWithin(where: string, what: string, value: number, count: number): void {
  if (Number.isInteger(value) && value >= 0 && value < count) return;
  throw new TopKError('INVALID_OPTION', `${where}: there is no such ${what}`, {
    expected: `a whole number from 0 to ${count - 1}`,
    got: describeValue(value),
  });
}
