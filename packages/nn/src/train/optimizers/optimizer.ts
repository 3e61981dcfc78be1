import {
  aNumber,
  aValue,
  describeValue,
  formatShape,
  type OptionKinds,
  readOptions,
  type Shape,
  scope,
  Tensor,
  TopKError,
  tensor,
  zeros,
} from '@topk-attention/core';
import { sameShape } from '@topk-attention/core/backend';
import { backendOf, type ParameterTree } from '../../parameters.js';
import { requireWithin } from '../../require.js';
import { NumberParts } from './number-parts.js';
import {
  factorsOf,
  type ProgramRule,
  type Slots,
  type UpdateAll,
  type UpdatedParameter,
  type UpdateRule,
  updateAllOf,
} from './rules.js';
import type { OptimizerStepOptions, StepOptions } from './step-options.js';

/** What an optimiser remembers between steps. A plain object: keep it, save it, dispose of its tensors. */
export interface OptimizerState {
  /** Updates made so far, by parameter. A step in which a parameter has no gradient does not count for it. */
  readonly steps: { readonly [parameter: string]: number };
  /** f32, named `<parameter>.<slot>`; slots are named as in PyTorch's state dicts (`exp_avg`, `momentum_buffer`, ...). */
  readonly tensors: ParameterTree;
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
   * The learning rate of parameters in no group, which `train` logs. Default: none is logged.
   *
   * @param step counts from 1, as the first update does
   * @param rateFactor the schedule's. Default 1
   */
  learningRate?(step: number, rateFactor?: number): number;
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
    options?: OptimizerStepOptions,
  ): Updated;
  /**
   * The half of a step that is plain arithmetic: what changes from step to step (rates, bias corrections), in an order
   * that `update` knows, and the counts after the step.
   *
   * @param names of the parameters that have a gradient
   * @throws TopKError INVALID_OPTION for a rate factor or a momentum that is negative or not finite
   */
  plan(steps: OptimizerState['steps'], names: readonly string[], options?: StepOptions): StepPlan;
  /**
   * The other half, a function of tensors alone, as a recorded step needs (core's `recordedStep`). `step` is `plan`
   * followed by `update`.
   *
   * @param numbers `plan(...).numbers` as a tensor, f32 [n]
   * @param gradients f32; to an update that declares `taken`, `train` with mixed precision hands f16
   * @param gradientScale see `OptimizerStepOptions`. To an update that does not declare it (`update.length` is below 6),
   * `train` hands scaled gradients instead.
   * @param taken f32 []: 0 to leave everything as it is, else 1. With an update that does not declare it (`update.length`
   * is below 7), `train` chooses between old and new afterwards.
   */
  update(
    parameters: ParameterTree,
    gradients: ParameterTree,
    tensors: OptimizerState['tensors'],
    plan: Pick<StepPlan, 'numbersAt'>,
    numbers: Tensor,
    gradientScale?: Tensor,
    taken?: Tensor,
  ): { readonly parameters: ParameterTree; readonly tensors: ParameterTree };
}

export interface StepPlan {
  /** Never empty. */
  readonly numbers: Float32Array;
  /** Where a parameter's numbers begin. The same in every step as long as the same parameters always have gradients. */
  readonly numbersAt: { readonly [parameter: string]: number };
  readonly steps: OptimizerState['steps'];
}

/** An optimiser that updates each parameter by a rule, with its group's settings. */
export function optimizerOf<Settings extends object>(
  rule: UpdateRule<Settings> | ProgramRule<Settings>,
  settings: Settings,
  groups: readonly ParameterGroup<Settings>[] = [],
): Optimizer {
  const kinds = [settings, ...groups.map(({ match: _, ...own }) => ({ ...settings, ...own }))];
  const updates = kinds.map((kind) => updateAllOf(rule, kind));
  const isProgram = 'programOf' in rule;
  /** Index into `kinds`; 0: in no group. */
  const kindOf = (name: string): number => groups.findIndex(({ match }) => match(name)) + 1;
  const settingsOf = (name: string): Settings => kinds[kindOf(name)] as Settings;
  const slotsOf = (name: string, shape: Shape): readonly (readonly [slot: string, shape: Shape])[] =>
    Object.entries(rule.slots(shape, settingsOf(name)));
  const optimizer: Optimizer = {
    name: rule.name,
    learningRate: (step, rateFactor = 1) => rule.learningRate(settings, step, rateFactor),
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
      requireNumbers(rule.name, options);
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
    update: (parameters, gradients, tensors, { numbersAt }, numbers, scale, taken) => {
      checkGradients(rule.name, parameters, gradients);
      const factors = { scale, taken };
      const parts = new NumberParts(numbers, isProgram ? factorsOf(factors) : []);
      try {
        return scope(() => {
          const after = new Map<string, UpdatedParameter>();
          const together = new Map<string, string[]>();
          for (const [name, parameter] of Object.entries(parameters)) {
            const slots = readSlots(rule.name, name, slotsOf(name, parameter.shape), tensors);
            after.set(name, { parameter, slots });
            if (gradients[name] === undefined) continue;
            const key = `${kindOf(name)} ${numbersAt[name]}`;
            const names = together.get(key);
            if (names === undefined) together.set(key, [name]);
            else names.push(name);
          }
          for (const names of together.values()) {
            const [first] = names as [string, ...string[]];
            const kind = kindOf(first);
            const count = rule.numbers(kinds[kind] as Settings, 1, {}).length;
            const ones = names.map((name) => ({
              ...(after.get(name) as UpdatedParameter),
              gradient: gradients[name] as Tensor,
            }));
            const made = (updates[kind] as UpdateAll)(
              ones,
              parts.from(numbersAt[first] as number, count),
              factors,
            );
            for (const [at, name] of names.entries()) after.set(name, made[at] as UpdatedParameter);
          }
          const made: { [name: string]: Tensor } = {};
          const state: { [name: string]: Tensor } = {};
          for (const [name, { parameter, slots }] of after) {
            // Aliases: an unchanged tensor is disposed of with the old tree and lives on in the new one.
            made[name] = parameter.alias();
            for (const [slot, one] of Object.entries(slots)) state[`${name}.${slot}`] = one.alias();
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
        const next = optimizer.update(
          parameters,
          gradients,
          state.tensors,
          plan,
          numbers,
          options?.gradientScale,
        );
        return { parameters: next.parameters, state: { steps: plan.steps, tensors: next.tensors } };
      });
    },
  };
  return optimizer;
}

const stepKinds: OptionKinds<OptimizerStepOptions> = {
  rateFactor: aNumber,
  momentum: aNumber,
  gradientScale: aValue<Tensor>('a tensor', (value) => value instanceof Tensor),
};

/**
 * What a schedule says of a step: a rate that is not finite would reach the parameters before any loss shows it.
 *
 * @throws TopKError INVALID_OPTION
 */
function requireNumbers(name: string, options: StepOptions): void {
  const { rateFactor = 1, momentum = 0 } = readOptions<OptimizerStepOptions>(
    `${name}, from its schedule`,
    options,
    stepKinds,
  );
  requireWithin(`${name}, from its schedule`, 'rateFactor', rateFactor, 0);
  requireWithin(`${name}, from its schedule`, 'momentum', momentum, 0);
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
