import {
  describeValue,
  formatShape,
  narrow,
  ProgramNumbers,
  type Shape,
  scope,
  type Tensor,
  TopKError,
  tensor,
  zeros,
} from '@topk-attention/core';
import { sameShape } from '@topk-attention/core/backend';
import { backendOf, type ParameterTree } from '../../parameters.js';

/** What an optimiser remembers between steps. A plain object: keep it, save it, dispose of its tensors. */
export interface OptimizerState {
  /** Updates made so far, by parameter. A step in which a parameter has no gradient does not count for it. */
  readonly steps: { readonly [parameter: string]: number };
  /** f32, named `<parameter>.<slot>`; slots are named as in PyTorch's state dicts (`exp_avg`, `momentum_buffer`, ...). */
  readonly tensors: ParameterTree;
}

/** What a schedule may change from step to step. */
export interface StepOptions {
  /** Multiplies the learning rate of every group. Default 1. */
  readonly rateFactor?: number;
  /** Replaces the momentum (SGD) or the first beta (Adam, AdamW). Default: the optimiser's own. */
  readonly momentum?: number;
}

/** Parameters chosen by name, with their own hyper-parameters. */
export type ParameterGroup<Settings> = Partial<Settings> & {
  /** True for the names that belong to the group. A parameter belongs to the first group that matches it. */
  readonly match: (name: string) => boolean;
};

/** New parameters and new state. The caller disposes of the old ones (`disposeParameters`). */
export interface Updated {
  readonly parameters: ParameterTree;
  readonly state: OptimizerState;
}

/** Stateless functions: everything is in the state argument. */
export interface Optimizer {
  readonly name: string;
  /** The state before the first step: every slot 0. */
  init(parameters: ParameterTree): OptimizerState;
  /**
   * One step. A parameter without a gradient is passed on unchanged: to freeze parameters, leave them out of the
   * gradients.
   *
   * @throws TopKError EXTRA_WEIGHT for a gradient without a parameter, SHAPE_MISMATCH, MISSING_WEIGHT if the state
   * belongs to other parameters.
   */
  step(
    parameters: ParameterTree,
    gradients: ParameterTree,
    state: OptimizerState,
    options?: StepOptions,
  ): Updated;
  /**
   * The half of a step that is plain arithmetic: what changes from step to step (rates, bias corrections), in an order
   * that `update` knows, and the counts after the step.
   *
   * @param names of the parameters that have a gradient
   */
  plan(steps: OptimizerState['steps'], names: readonly string[], options?: StepOptions): StepPlan;
  /**
   * The other half, a function of tensors alone, as a recorded step needs (core's `recordedStep`). `step` is `plan`
   * followed by `update`.
   *
   * @param numbers `plan(...).numbers` as a tensor, f32 [n]
   */
  update(
    parameters: ParameterTree,
    gradients: ParameterTree,
    tensors: OptimizerState['tensors'],
    plan: Pick<StepPlan, 'numbersAt'>,
    numbers: Tensor,
  ): { readonly parameters: ParameterTree; readonly tensors: ParameterTree };
}

export interface StepPlan {
  /** Never empty. */
  readonly numbers: Float32Array;
  /** Where a parameter's numbers begin. The same in every step as long as the same parameters always have gradients. */
  readonly numbersAt: { readonly [parameter: string]: number };
  readonly steps: OptimizerState['steps'];
}

/** Slots of one parameter, by name. */
export type Slots = { readonly [slot: string]: Tensor };

/** How one parameter is updated. */
export interface UpdateRule<Settings> {
  readonly name: string;
  /** Shapes of the slots for a parameter of that shape. */
  slots(shape: Shape, settings: Settings): { readonly [slot: string]: Shape };
  /**
   * What changes from step to step, always the same count of numbers. `step` counts from 1. Backends cache numbers
   * passed to ops or compile them in, so a number that changes every step must come as a tensor.
   */
  numbers(settings: Settings, step: number, options: StepOptions): readonly number[];
  /** An update with the settings of the parameter's group. Only `numbers` depends on the step. */
  updateOf(settings: Settings): Update;
}

type Update = (
  parameter: Tensor,
  gradient: Tensor,
  slots: Slots,
  numbers: ProgramNumbers,
) => { readonly parameter: Tensor; readonly slots: Slots };

/** An optimiser that updates each parameter by a rule, with its group's settings. */
export function optimizerOf<Settings extends object>(
  rule: UpdateRule<Settings>,
  settings: Settings,
  groups: readonly ParameterGroup<Settings>[] = [],
): Optimizer {
  const kinds = [settings, ...groups.map(({ match: _, ...own }) => ({ ...settings, ...own }))];
  const updates = kinds.map((kind) => rule.updateOf(kind));
  /** Index into `kinds`; 0: in no group. */
  const kindOf = (name: string): number => groups.findIndex(({ match }) => match(name)) + 1;
  const settingsOf = (name: string): Settings => kinds[kindOf(name)] as Settings;
  const slotsOf = (name: string, shape: Shape): readonly (readonly [slot: string, shape: Shape])[] =>
    Object.entries(rule.slots(shape, settingsOf(name)));
  const optimizer: Optimizer = {
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
    plan: (before, names, options = {}) => {
      const numbers: number[] = [];
      const numbersAt: { [name: string]: number } = {};
      const steps: { [name: string]: number } = { ...before };
      const places = new Map<string, number>();
      for (const name of names) {
        const step = (before[name] ?? 0) + 1;
        steps[name] = step;
        const kind = kindOf(name);
        const key = `${kind} ${step}`;
        let place = places.get(key);
        if (place === undefined) {
          place = numbers.length;
          places.set(key, place);
          numbers.push(...rule.numbers(kinds[kind] as Settings, step, options));
        }
        numbersAt[name] = place;
      }
      // An empty tensor would have an extent of 0, which nothing needs.
      return { numbers: Float32Array.from(numbers.length > 0 ? numbers : [0]), numbersAt, steps };
    },
    update: (parameters, gradients, tensors, { numbersAt }, numbers) => {
      checkGradients(rule.name, parameters, gradients);
      const parts = new NumberParts(numbers);
      try {
        return scope(() => {
          const made: { [name: string]: Tensor } = {};
          const state: { [name: string]: Tensor } = {};
          for (const [name, parameter] of Object.entries(parameters)) {
            const gradient = gradients[name];
            const before = readSlots(rule.name, name, slotsOf(name, parameter.shape), tensors);
            const update = updates[kindOf(name)] as Update;
            const after =
              gradient === undefined
                ? { parameter, slots: before }
                : scope(() => update(parameter, gradient, before, parts.from(numbersAt[name] as number)));
            // Aliases: an unchanged tensor is disposed of with the old tree and lives on in the new one.
            made[name] = after.parameter.alias();
            for (const [slot, one] of Object.entries(after.slots)) state[`${name}.${slot}`] = one.alias();
          }
          return { parameters: made, tensors: state };
        });
      } finally {
        parts.dispose();
      }
    },
    step: (parameters, gradients, state, options) => {
      requireTrees(rule.name, parameters, state);
      const plan = optimizer.plan(state.steps, Object.keys(gradients), options);
      return scope(() => {
        const numbers = tensor(backendOf(parameters), plan.numbers, [plan.numbers.length]);
        const next = optimizer.update(parameters, gradients, state.tensors, plan, numbers);
        return { parameters: next.parameters, state: { steps: plan.steps, tensors: next.tensors } };
      });
    },
  };
  return optimizer;
}

/** What `step` cannot begin without. */
function requireTrees(name: string, parameters: ParameterTree, state: OptimizerState): void {
  if (Object.keys(parameters ?? {}).length === 0) {
    throw new TopKError('INVALID_OPTION', `${name}.step: no parameters`, {
      expected: 'at least one',
      got: describeValue(parameters),
    });
  }
  if (state?.steps === undefined || state.tensors === undefined) {
    throw new TopKError('INVALID_OPTION', `${name}.step: bad state`, {
      expected: 'what init(parameters) or the step before returned',
      got: describeValue(state),
      fix: 'Start from init(parameters)',
    });
  }
}

/** Slices of a step's numbers, each shared by the parameters whose numbers begin there. */
class NumberParts {
  readonly #whole: Tensor;
  readonly #parts = new Map<number, ProgramNumbers>();

  constructor(whole: Tensor) {
    this.#whole = whole;
  }

  from(start: number): ProgramNumbers {
    let part = this.#parts.get(start);
    if (part === undefined) {
      const vector = scope(() =>
        (start === 0 ? this.#whole : narrow(this.#whole, 0, start, this.#whole.size - start)).unscopedAlias(),
      );
      part = new ProgramNumbers(vector);
      this.#parts.set(start, part);
    }
    return part;
  }

  dispose(): void {
    for (const part of this.#parts.values()) {
      part.dispose();
      part.vector.dispose();
    }
  }
}

function checkGradients(where: string, parameters: ParameterTree, gradients: ParameterTree): void {
  for (const [name, gradient] of Object.entries(gradients)) {
    const parameter = parameters[name];
    if (parameter === undefined) {
      throw new TopKError('EXTRA_WEIGHT', `${where}: a gradient belongs to no parameter`, {
        expected: 'names of parameters',
        got: name,
      });
    }
    if (!sameShape(gradient.shape, parameter.shape)) {
      throw new TopKError('SHAPE_MISMATCH', `${where}: the gradient of ${name} has the wrong shape`, {
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
  tensors: ParameterTree,
): Slots {
  const slots: { [slot: string]: Tensor } = {};
  for (const [slot, shape] of wanted) {
    const key = `${name}.${slot}`;
    const found = tensors[key];
    if (found === undefined || !sameShape(found.shape, shape)) {
      throw new TopKError(
        found === undefined ? 'MISSING_WEIGHT' : 'SHAPE_MISMATCH',
        `${where}: the state does not belong to these parameters`,
        {
          expected: `${key} ${formatShape(shape)}`,
          got: found === undefined ? 'nothing' : formatShape(found.shape),
          fix: 'Start from init(parameters), or load the state that was saved with them',
        },
      );
    }
    slots[slot] = found;
  }
  return slots;
}
