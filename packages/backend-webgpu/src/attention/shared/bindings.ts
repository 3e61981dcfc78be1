/** Declarations of storage buffers at bindings 1, 2, ... */
export function bindings(declarations: readonly string[]): string {
  return declarations.map((text, at) => `@group(0) @binding(${at + 1}) var<storage, ${text};`).join('\n');
}
