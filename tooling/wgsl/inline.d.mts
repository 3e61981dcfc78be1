/** Makes every inlined shader text what its .wgsl file says. */
export function inlineShaders(): void;
/** What is stale, in words. */
export function staleShaders(): string[];
