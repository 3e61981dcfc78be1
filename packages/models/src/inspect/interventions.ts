import {
  broadcastTo,
  describeValue,
  scope,
  type Tensor,
  TopKError,
  tensor,
  where,
} from '@topk-attention/core';
import type { ActivationOverride, Trace } from '@topk-attention/nn';
import type { InspectedStack } from './stack.js';
import { checkValueName, type ValueName } from './value-name.js';

/**
 * A coefficient that takes the place of a unit's own, after the activation function (and the gate). A unit that top-k left
 * out gets it too.
 */
export interface Intervention extends ValueName {
  /**
   * 0 switches the unit off. Far beyond 1e15 the squares of the next norm exceed f32, and logits after its layer become 0 or
   * NaN.
   */
  readonly coefficient: number;
  /** Positions in the inspected stack, negative ones from the end. Default: all. */
  readonly positions?: readonly number[];
}

/** What one layer's interventions set: for each unit the coefficient at every position, or those at some. */
type Settings = Map<number, { all?: number; readonly at: Map<number, number> }>;

/** Interventions by layer; later ones win over earlier ones of the same unit and position. */
export class InterventionPlan {
  readonly #layers = new Map<number, Settings>();
  readonly #stack: InspectedStack;

  /**
   * @param length positions of the pass; without it, interventions at chosen positions are refused
   * @throws TopKError INVALID_OPTION
   */
  constructor(
    where: string,
    stack: InspectedStack,
    list: readonly Intervention[],
    length: number | undefined,
  ) {
    this.#stack = stack;
    for (const one of list) {
      const { layer, unit, coefficient, positions } = one;
      const units = unitsOf(stack, layer);
      checkValueName(where, one, stack.paths.length, units);
      if (!Number.isFinite(Math.fround(coefficient))) {
        throw new TopKError('INVALID_OPTION', `${where}: bad coefficient`, {
          expected: 'a finite number of f32',
          got: describeValue(coefficient),
        });
      }
      const settings: Settings = this.#layers.get(layer) ?? new Map();
      this.#layers.set(layer, settings);
      if (positions === undefined) settings.set(unit, { all: coefficient, at: new Map() });
      else {
        const setting = settings.get(unit) ?? { at: new Map<number, number>() };
        settings.set(unit, setting);
        for (const position of positions) setting.at.set(placeOf(where, position, length), coefficient);
      }
    }
  }

  /** Overwrites the units that the layer reports at a position: a list of units and their coefficients. */
  apply(layer: number, position: number, coefficients: Map<number, number>): void {
    for (const [unit, { all, at }] of this.#layers.get(layer) ?? []) {
      const forced = at.get(position) ?? all;
      if (forced !== undefined) coefficients.set(unit, forced);
    }
  }

  /** The hook that overwrites the coefficients in a pass. */
  get override(): NonNullable<Trace['overrideActivations']> {
    return (path) => {
      const layer = this.#stack.paths.findIndex((own) => path === `${own}.feedForward`);
      const settings = this.#layers.get(layer);
      return settings === undefined ? undefined : overrideOf(settings);
    };
  }
}

function unitsOf({ weights }: InspectedStack, layer: number): number {
  return weights[layer]?.wOut.shape[0] ?? weights[0]?.wOut.shape[0] ?? 0;
}

/**
 * A position counted from the start.
 *
 * @throws TopKError INVALID_OPTION for one that is not there, and for any where `length` is unknown.
 */
export function placeOf(where: string, position: number, length: number | undefined): number {
  if (length === undefined) {
    throw new TopKError('INVALID_OPTION', `${where}: positions are those of one pass`, {
      expected: 'interventions at all positions',
      got: `one at ${describeValue(position)}`,
      fix: 'Leave positions out, or use inspect',
    });
  }
  const place = position < 0 ? position + length : position;
  if (Number.isInteger(place) && place >= 0 && place < length) return place;
  throw new TopKError('INVALID_OPTION', `${where}: there is no such position`, {
    expected: `a whole number from ${-length} to ${length - 1}`,
    got: describeValue(position),
  });
}

function overrideOf(settings: Settings): ActivationOverride {
  const units = [...settings.keys()];
  return { units, activations: (own) => overwritten(own, [...settings.values()]) };
}

/** Activations [..., L, units] with those that are set in their place. */
function overwritten(own: Tensor, settings: readonly { all?: number; at: Map<number, number> }[]): Tensor {
  const count = settings.length;
  // Where no position is chosen, one row serves all, whatever the length of the pass.
  const isChosen = settings.some(({ at }) => at.size > 0);
  const length = isChosen ? (own.shape.at(-2) as number) : 1;
  const values = new Float64Array(length * count);
  const isSet = new Uint8Array(length * count);
  for (let position = 0; position < length; position++) {
    for (const [slot, { all, at }] of settings.entries()) {
      const forced = at.get(position) ?? all;
      if (forced === undefined) continue;
      values[position * count + slot] = forced;
      isSet[position * count + slot] = 1;
    }
  }
  return scope(() => {
    const { backend, dtype } = own;
    const rows = tensor(backend, values, [length, count], dtype);
    const condition = tensor(backend, isSet, [length, count], 'bool');
    return where(broadcastTo(condition, own.shape), broadcastTo(rows, own.shape), own);
  });
}
