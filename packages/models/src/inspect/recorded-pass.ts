import { narrow, scope, type Tensor } from '@topk-attention/core';
import type { KeptUnits } from '@topk-attention/nn';
import type { InterventionPlan } from './interventions.js';
import type { InspectedStack, StackInputs } from './stack.js';

/** What one layer did at one position. */
export interface RecordedLayer {
  /** Coefficients that the layer used, by unit: those it kept, and those that interventions set. */
  readonly coefficients: ReadonlyMap<number, number>;
  /** The residual stream [1, 1, dModel] in front of the feed-forward layer. The reader disposes of it. */
  readonly before: Tensor;
  /** The same after it. */
  readonly after: Tensor;
}

/** Tensors of a layer while the pass runs. */
interface Held {
  indices?: Tensor;
  activations?: Tensor;
  before?: Tensor;
  after?: Tensor;
}

/** Runs the model with the interventions, and keeps what each layer of the stack does at the position. */
export async function recordPass(
  stack: InspectedStack,
  inputs: StackInputs,
  position: number,
  plan: InterventionPlan,
): Promise<readonly RecordedLayer[]> {
  const held: Held[] = stack.paths.map(() => ({}));
  /** The position's part of a hook's tensor [1, L, n], which is freed. */
  const at = (x: Tensor): Tensor => {
    const part = scope(() => narrow(x, 1, position, 1).unscopedAlias());
    x.dispose();
    return part;
  };
  const heldBy = (path: string): Held | undefined =>
    held[stack.paths.findIndex((own) => path === `${own}.feedForward`)];
  const onBeforeFeedForward = (path: string, x: Tensor): void => {
    const layer = heldBy(path);
    if (layer === undefined) x.dispose();
    else layer.before = at(x);
  };
  const onFeedForward = (path: string, { indices, activations }: KeptUnits): void => {
    const layer = heldBy(path);
    if (layer === undefined) for (const one of [indices, activations]) one.dispose();
    else Object.assign(layer, { indices: at(indices), activations: at(activations) });
  };
  const onResidual = (path: string, x: Tensor): void => {
    const layer = held[stack.paths.indexOf(path)];
    if (layer === undefined) x.dispose();
    else layer.after = at(x);
  };
  const layers: RecordedLayer[] = [];
  try {
    stack.run(inputs, { onBeforeFeedForward, onFeedForward, onResidual, overrideActivations: plan.override });
    for (const [layer, { indices, activations, before, after }] of held.entries()) {
      const units = Array.from(await (indices as Tensor).data(), Number);
      const values = Array.from(await (activations as Tensor).data(), Number);
      const coefficients = new Map(units.map((unit, slot) => [unit, values[slot] as number]));
      plan.apply(layer, position, coefficients);
      const [first, last] = [before, after] as [Tensor, Tensor];
      layers.push({ coefficients, before: first.unscopedAlias(), after: last.unscopedAlias() });
    }
    return layers;
  } catch (error) {
    disposeRecorded(layers);
    throw error;
  } finally {
    for (const { indices, activations, before, after } of held) {
      for (const one of [indices, activations, before, after]) one?.dispose();
    }
  }
}

export function disposeRecorded(layers: readonly RecordedLayer[]): void {
  for (const { before, after } of layers) {
    before.dispose();
    after.dispose();
  }
}
