fn multiply_high(a: u32, b: u32) -> u32 {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let carry = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (middle >> 16u) + (carry >> 16u);
}
// The four words at a counter, by Philox4x32-10.
fn philox(counter: vec4u, seed: vec2u) -> vec4u {
  var c = counter;
  var key = seed;
  for (var round = 0u; round < 10u; round++) {
    c = vec4u(
      multiply_high(0xcd9e8d57u, c.z) ^ c.y ^ key.x,
      0xcd9e8d57u * c.z,
      multiply_high(0xd2511f53u, c.x) ^ c.w ^ key.y,
      0xd2511f53u * c.x,
    );
    key += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}
// The words of the places (a, b, c, d) to (a, b, c, d + 3), where d is a multiple of 4.
fn random_words(place: vec4u, seed: vec2u) -> vec4u {
  return philox(vec4u(place.xyz, place.w >> 2u), seed);
}
// The word of a place.
fn random_word(place: vec4u, seed: vec2u) -> u32 {
  return random_words(place, seed)[place.w & 3u];
}
