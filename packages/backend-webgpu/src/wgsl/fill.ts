import { TopKError } from '@topk-attention/core';

/**
 * The text of a .wgsl file for one variant of its kernel. `${name}` becomes the number or text of that parameter; the lines
 * between `#if name` and `#else` or `#endif` stay where the parameter is true, those between `#else` and `#endif` where it
 * is false. No nesting, no expressions.
 */
export function fill(text: string, parameters: Readonly<Record<string, boolean | number | string>>): string {
  const unused = new Set(Object.keys(parameters));
  const valueOf = (name: string): boolean | number | string => {
    const value = parameters[name];
    if (value === undefined) throw unknownParameter(name, parameters);
    unused.delete(name);
    return value;
  };
  let stays = true;
  const lines = text.split('\n').filter((line) => {
    const [, directive, name = ''] = /^\s*#(if|else|endif)\b\s*(\w*)/.exec(line) ?? [];
    if (directive === undefined) return stays;
    if (directive === 'if') stays = valueOf(name) === true;
    else stays = directive === 'else' ? !stays : true;
    return false;
  });
  const filled = lines.join('\n').replace(/\$\{(\w+)\}/g, (_, name: string) => String(valueOf(name)));
  // Names used only in lines of other variants also count as used.
  for (const name of unused) if (!text.includes(`\${${name}}`)) throw unknownParameter(name, {});
  return filled;
}

function unknownParameter(name: string, parameters: object): TopKError {
  return new TopKError('ENGINE_FAILURE', `webgpu: shader text and code differ about the parameter ${name}`, {
    expected: `one of ${Object.keys(parameters).join(', ')}`,
    got: name,
  });
}
