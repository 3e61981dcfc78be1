import {
  type ElementwiseProgram,
  type Expression,
  elementwiseProgram,
  mapElementsOfAll,
  ProgramNumbers,
  reshape,
  type Shape,
  scope,
  type Tensor,
  terms,
} from '@topk-attention/core';
import { castAll } from '../../cast-all.js';
import type { StepOptions } from './step-options.js';

/** Slots of one parameter, by name. */
export type Slots = { readonly [slot: string]: Tensor };

interface Rule<Settings> {
  readonly name: string;
  /** Shapes of the slots for a parameter of that shape. */
  slots(shape: Shape, settings: Settings): { readonly [slot: string]: Shape };
  /** The learning rate of a step, which counts from 1, with the factor of a schedule. */
  learningRate(settings: Settings, step: number, rateFactor: number): number;
  /**
   * What changes from step to step, always the same count of numbers. `step` counts from 1. Backends cache numbers
   * passed to ops or compile them in, so a number that changes every step must come as a tensor.
   */
  numbers(settings: Settings, step: number, options: StepOptions): readonly number[];
}

/** The rate of an optimiser whose rate is the schedule's factor times its own. */
export const scaledRate = (
  { learningRate }: { readonly learningRate: number },
  _step: number,
  rateFactor: number,
): number => learningRate * rateFactor;

/** An update in which elements of a parameter depend on each other. */
export interface UpdateRule<Settings> extends Rule<Settings> {
  /** An update of a group with its settings. Only `numbers` depends on the step. */
  updateOf(settings: Settings): UpdateGroup;
}

/** An update that is a function of the elements, so that all parameters of a group can take it together. */
export interface ProgramRule<Settings> extends Rule<Settings> {
  /**
   * Inputs `parameter`, `gradient` and the slots; outputs `parameter` and the slots; the numbers of `numbers`, followed by
   * one that multiplies the gradient, if `isScaled`.
   */
  programOf(settings: Settings, isScaled: boolean): ElementwiseProgram;
}

export interface UpdatedParameter {
  readonly parameter: Tensor;
  readonly slots: Slots;
}

/** An update of a group whose gradients are f32 and multiplied by `scale` on the way. */
export type UpdateGroup = (
  ones: readonly (UpdatedParameter & { readonly gradient: Tensor })[],
  numbers: ProgramNumbers,
  scale: Tensor | undefined,
) => readonly UpdatedParameter[];

/** What all parameters of an update have in common besides their numbers, f32 [] each. */
export interface UpdateFactors {
  /** Multiplies gradients. */
  readonly scale?: Tensor | undefined;
  /** 0: everything stays as it is. Otherwise 1. */
  readonly taken?: Tensor | undefined;
}

/** Those that are there, in the order in which a program's numbers end with them. */
export const factorsOf = ({ scale, taken }: UpdateFactors): readonly Tensor[] =>
  [scale, taken].filter((one) => one !== undefined);

/**
 * Updates parameters that share their settings and numbers. Gradients may be f16. The numbers of a program end with
 * `factorsOf`.
 */
export type UpdateAll = (
  ones: readonly (UpdatedParameter & { readonly gradient: Tensor })[],
  numbers: ProgramNumbers,
  factors: UpdateFactors,
) => readonly UpdatedParameter[];

export function updateAllOf<Settings>(
  rule: UpdateRule<Settings> | ProgramRule<Settings>,
  settings: Settings,
): UpdateAll {
  if ('updateOf' in rule) {
    const update = rule.updateOf(settings);
    return (ones, numbers, { scale, taken }) =>
      scope(() => {
        const gradients = castAll(
          ones.map(({ gradient }) => gradient),
          'f32',
        );
        const wide = ones.map((one, at) => ({ ...one, gradient: gradients[at] as Tensor }));
        const made = update(wide, numbers, scale);
        return taken === undefined ? made : chosen(taken, made, ones);
      });
  }
  const [plain, scaled] = [rule.programOf(settings, false), rule.programOf(settings, true)];
  const optional = { plain: optionalProgram(plain), scaled: optionalProgram(scaled) };
  return (ones, numbers, { scale, taken }) => {
    const isScaled = scale !== undefined;
    const always = isScaled ? scaled : plain;
    const program = taken === undefined ? always : isScaled ? optional.scaled : optional.plain;
    const inputs = ones.map(({ parameter, gradient, slots }) => ({ parameter, gradient, ...slots }));
    return mapElementsOfAll(program, inputs, numbers).map(({ parameter, ...slots }) => ({
      parameter: parameter as Tensor,
      slots,
    }));
  };
}

/** A program with a further number, the last one: if it is 0, each output is the input of its name. */
function optionalProgram({ inputs, numbers, outputs }: ElementwiseProgram): ElementwiseProgram {
  const names = Array.from({ length: numbers }, (_, at) => `number_${at}`);
  return elementwiseProgram({ inputs, numbers: [...names, 'taken'] }, (x) =>
    Object.fromEntries(
      Object.entries(outputs).map(([name, one]) => [
        name,
        terms.choose(x.taken as Expression, one, x[name] as Expression),
      ]),
    ),
  );
}

/** Its output has the name of an input, as those of updates do: a backend may lay them out for the next one. */
const chosenProgram = elementwiseProgram(
  { inputs: ['next', 'before'], numbers: ['taken'] },
  ({ next, before, taken }) => ({ before: terms.choose(taken, next, before) }),
);

/** What an update made, or what was before it if `taken` is 0; in few launches. */
function chosen(
  taken: Tensor,
  made: readonly UpdatedParameter[],
  before: readonly UpdatedParameter[],
): readonly UpdatedParameter[] {
  const pairs = made.flatMap((next, at) => {
    const { parameter, slots } = before[at] as UpdatedParameter;
    const ofSlots = Object.entries(next.slots).map(([slot, one]) => ({
      next: one,
      before: slots[slot] as Tensor,
    }));
    return [{ next: next.parameter, before: parameter }, ...ofSlots];
  });
  const numbers = new ProgramNumbers(reshape(taken, [1]));
  const kept = mapElementsOfAll(chosenProgram, pairs, numbers);
  numbers.dispose();
  let place = 0;
  const take = (): Tensor => (kept[place++] as { before: Tensor }).before;
  return made.map(({ slots }) => ({
    parameter: take(),
    slots: Object.fromEntries(Object.keys(slots).map((slot) => [slot, take()])),
  }));
}
