import {
  type ElementwiseProgram,
  mapElementsOfAll,
  type ProgramNumbers,
  type Shape,
  type Tensor,
} from '@topk-attention/core';
import type { StepOptions } from './step-options.js';

/** Slots of one parameter, by name. */
export type Slots = { readonly [slot: string]: Tensor };

interface Rule<Settings> {
  readonly name: string;
  /** Shapes of the slots for a parameter of that shape. */
  slots(shape: Shape, settings: Settings): { readonly [slot: string]: Shape };
  /**
   * What changes from step to step, always the same count of numbers. `step` counts from 1. Backends cache numbers
   * passed to ops or compile them in, so a number that changes every step must come as a tensor.
   */
  numbers(settings: Settings, step: number, options: StepOptions): readonly number[];
}

/** An update in which elements of a parameter depend on each other. */
export interface UpdateRule<Settings> extends Rule<Settings> {
  /** An update of a group with its settings. Only `numbers` depends on the step. */
  updateOf(settings: Settings): UpdateAll;
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

/** Updates parameters that share their settings and numbers. */
export type UpdateAll = (
  ones: readonly (UpdatedParameter & { readonly gradient: Tensor })[],
  numbers: ProgramNumbers,
  scale: Tensor | undefined,
) => readonly UpdatedParameter[];

export function updateAllOf<Settings>(
  rule: UpdateRule<Settings> | ProgramRule<Settings>,
  settings: Settings,
): UpdateAll {
  if ('updateOf' in rule) return rule.updateOf(settings);
  const programs = { plain: rule.programOf(settings, false), scaled: rule.programOf(settings, true) };
  return (ones, numbers, scale) => {
    const program = scale === undefined ? programs.plain : programs.scaled;
    const inputs = ones.map(({ parameter, gradient, slots }) => ({ parameter, gradient, ...slots }));
    return mapElementsOfAll(program, inputs, numbers).map(({ parameter, ...slots }) => ({
      parameter: parameter as Tensor,
      slots,
    }));
  };
}
