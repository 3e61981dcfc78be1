import { formatShape, type Shape, scope, type Tensor, TopKError, tensor, zeros } from '@topk-attention/core';
import { sameShape } from '@topk-attention/core/backend';
import type { ParameterTree } from '../../parameters.js';

/** What an optimiser remembers between steps. A plain object: keep it, save it, dispose of its tensors. */
export interface OptimizerState {
  /** Updates made so far, by parameter. A step in which a parameter has no gradient does not count for it. */
  readonly steps: { readonly [parameter: string]: number };
  /** f32, named `<parameter>.<slot>`; slots are named as in PyTorch's state dicts (`exp_avg`, `momentum_buffer`, ...). */
  readonly tensors: ParameterTree;
}

/** What a schedule changes from step to step. */
export interface StepOptions {
  /** Multiplies the learning rate of every group. Default 1. */
  readonly rateFactor?: number;
  /** Replaces the momentum (SGD) or the first beta (Adam, AdamW). Default: the optimiser's own. */
  readonly momentum?: number;
}

/** Parameters chosen by name, with hyper-parameters of their own. */
export type ParameterGroup<Settings> = Partial<Settings> & {
  /** True for the names that belong to the group. A parameter belongs to the first group that takes it. */
  readonly match: (name: string) => boolean;
};

/** New parameters and new state. The caller disposes of the old ones (`disposeParameters`). */
export interface Updated {
  readonly parameters: ParameterTree;
  readonly state: OptimizerState;
}

/** A pair of pure functions. Nothing is remembered but in the state. */
export interface Optimizer {
  readonly name: string;
  /** The state before the first step: every slot 0. */
  init(parameters: ParameterTree): OptimizerState;
  /**
   * One step. A parameter without gradient is passed on as it is, so that frozen parameters are those left out of the
   * gradients.
   *
   * @throws TopKError EXTRA_WEIGHT for a gradient of no parameter, SHAPE_MISMATCH, MISSING_WEIGHT where the state belongs
   * to other parameters.
   */
  step(
    parameters: ParameterTree,
    gradients: ParameterTree,
    state: OptimizerState,
    options?: StepOptions,
  ): Updated;
}

/** Slots of one parameter, by name. */
export type Slots = { readonly [slot: string]: Tensor };

/**
 * A number as a tensor of shape [], made once per step. Backends keep the numbers that ops are given, or compile them in:
 * one that is another in every step would fill their caches and compile every step anew.
 */
export type Scalar = (value: number) => Tensor;

/** How one parameter is updated. */
export interface UpdateRule<Settings> {
  readonly name: string;
  /** Shapes of the slots of a parameter of that shape. */
  slots(shape: Shape, settings: Settings): { readonly [slot: string]: Shape };
  /** `step` counts from 1. Numbers that change from step to step go through `scalar`. */
  update(
    parameter: Tensor,
    gradient: Tensor,
    slots: Slots,
    settings: Settings,
    step: number,
    scalar: Scalar,
  ): { readonly parameter: Tensor; readonly slots: Slots };
  /** The settings of a step, with what a schedule changes. */
  scheduled(settings: Settings, options: StepOptions): Settings;
}

/** An optimiser that updates each parameter by a rule with the settings of its group. */
export function optimizerOf<Settings extends object>(
  rule: UpdateRule<Settings>,
  settings: Settings,
  groups: readonly ParameterGroup<Settings>[] = [],
): Optimizer {
  const settingsOf = (name: string): Settings => {
    const group = groups.find(({ match }) => match(name));
    if (group === undefined) return settings;
    const { match: _, ...own } = group;
    return { ...settings, ...own };
  };
  const slotsOf = (name: string, shape: Shape): readonly (readonly [slot: string, shape: Shape])[] =>
    Object.entries(rule.slots(shape, settingsOf(name)));
  return {
    name: rule.name,
    init: (parameters) =>
      scope(() => {
        const tensors: { [name: string]: Tensor } = {};
        for (const [name, parameter] of Object.entries(parameters)) {
          for (const [slot, shape] of slotsOf(name, parameter.shape)) {
            tensors[`${name}.${slot}`] = zeros(parameter.backend, shape);
          }
        }
        return { steps: Object.fromEntries(Object.keys(parameters).map((name) => [name, 0])), tensors };
      }),
    step: (parameters, gradients, state, options = {}) => {
      checkGradients(rule.name, parameters, gradients);
      const scalars = new Scalars();
      try {
        return scope(() => {
          const made: { [name: string]: Tensor } = {};
          const tensors: { [name: string]: Tensor } = {};
          const steps: { [name: string]: number } = {};
          for (const [name, parameter] of Object.entries(parameters)) {
            const gradient = gradients[name];
            const before = readSlots(rule.name, name, slotsOf(name, parameter.shape), state);
            const step = (state.steps[name] ?? 0) + (gradient === undefined ? 0 : 1);
            const settings = rule.scheduled(settingsOf(name), options);
            const scalar: Scalar = (value) => scalars.get(parameter.backend, value);
            const after =
              gradient === undefined
                ? { parameter, slots: before }
                : scope(() => rule.update(parameter, gradient, before, settings, step, scalar));
            // Aliases: what is passed on unchanged is disposed of with the old tree and lives on in the new one.
            made[name] = after.parameter.alias();
            for (const [slot, one] of Object.entries(after.slots)) tensors[`${name}.${slot}`] = one.alias();
            steps[name] = step;
          }
          return { parameters: made, state: { steps, tensors } };
        });
      } finally {
        scalars.dispose();
      }
    },
  };
}

/** The numbers of one step, shared by its parameters. */
class Scalars {
  readonly #made = new Map<number, Tensor>();

  get(backend: Tensor['backend'], value: number): Tensor {
    const found = this.#made.get(value);
    if (found !== undefined) return found;
    // Not the scope's of the parameter that asks first.
    const made = scope(() => tensor(backend, Float32Array.of(value), []).unscopedAlias());
    this.#made.set(value, made);
    return made;
  }

  dispose(): void {
    for (const one of this.#made.values()) one.dispose();
  }
}

function checkGradients(where: string, parameters: ParameterTree, gradients: ParameterTree): void {
  for (const [name, gradient] of Object.entries(gradients)) {
    const parameter = parameters[name];
    if (parameter === undefined) {
      throw new TopKError('EXTRA_WEIGHT', `${where}: a gradient of no parameter`, {
        expected: 'names of parameters',
        got: name,
      });
    }
    if (!sameShape(gradient.shape, parameter.shape)) {
      throw new TopKError('SHAPE_MISMATCH', `${where}: the gradient of ${name} does not fit it`, {
        expected: formatShape(parameter.shape),
        got: formatShape(gradient.shape),
      });
    }
  }
}

function readSlots(
  where: string,
  name: string,
  wanted: readonly (readonly [slot: string, shape: Shape])[],
  state: OptimizerState,
): Slots {
  const slots: { [slot: string]: Tensor } = {};
  for (const [slot, shape] of wanted) {
    const key = `${name}.${slot}`;
    const found = state.tensors[key];
    if (found === undefined || !sameShape(found.shape, shape)) {
      throw new TopKError(
        found === undefined ? 'MISSING_WEIGHT' : 'SHAPE_MISMATCH',
        `${where}: the state does not belong to these parameters`,
        {
          expected: `${key} ${formatShape(shape)}`,
          got: found === undefined ? 'nothing' : formatShape(found.shape),
          fix: 'Begin with init(parameters), or load the state that was saved with them',
        },
      );
    }
    slots[slot] = found;
  }
  return slots;
}
