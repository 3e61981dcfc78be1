/** What a run is made from. Two runs with the same settings and text end with the same bits on one device. */
export interface Settings {
  readonly mechanism: 'exact' | 'top-k';
  /** Keys that each query keeps; exact attention ignores it. */
  readonly k: number;
  readonly size: Size;
  /** Characters that the model sees at once. */
  readonly context: number;
  /** Pieces of text in a step. */
  readonly batch: number;
  readonly rate: number;
  readonly steps: number;
  /** Steps from one evaluation and checkpoint to the next. */
  readonly every: number;
  readonly seed: number;
  readonly device: 'webgpu' | 'cpu';
}

type Size = keyof typeof SIZES;

export const SIZES = {
  tiny: { layers: 1, width: 32, heads: 2, hidden: 64 },
  small: { layers: 2, width: 128, heads: 4, hidden: 512 },
  medium: { layers: 4, width: 256, heads: 8, hidden: 1024 },
} as const;

/** The settings in a form, whose fields have the names and limits of the settings; also while they are disabled. */
export function settingsOf(form: HTMLFormElement): Settings {
  const word = (name: keyof Settings): string => fieldOf(form, name)?.value ?? '';
  const number = (name: keyof Settings): number => Number(word(name));
  return {
    mechanism: word('mechanism') === 'exact' ? 'exact' : 'top-k',
    k: number('k'),
    size: word('size') as Size,
    context: number('context'),
    batch: number('batch'),
    rate: number('rate'),
    steps: number('steps'),
    every: number('every'),
    seed: number('seed'),
    device: word('device') === 'cpu' ? 'cpu' : 'webgpu',
  };
}

/** Writes settings into a form, such as those of a run from before a reload. */
export function showSettings(form: HTMLFormElement, settings: Settings): void {
  for (const [name, value] of Object.entries(settings)) {
    const field = fieldOf(form, name);
    if (field !== undefined) field.value = String(value);
  }
}

function fieldOf(form: HTMLFormElement, name: string): { value: string } | undefined {
  const field = form.elements.namedItem(name);
  const isField =
    field instanceof HTMLInputElement || field instanceof HTMLSelectElement || field instanceof RadioNodeList;
  return isField ? field : undefined;
}
