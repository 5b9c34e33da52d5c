// Draws by seed, stream and row; lists that grow where a condition holds; a loop that a guard keeps from running.
graph @sample {
  %logits = random_normal {shape: [2, 8], seed: 1, std: 0.7}
  save sample(%logits) {seed: 7} as "drawn"
  save sample(%logits, 0) {seed: 7} as "the same stream"
  save sample(%logits, 1) {seed: 7} as "the next stream"
  save sample(%logits) {seed: 7, temperature: 0.01} as "cold"
  save argmax(%logits) {dim: -1} as "the largest"
  save sample(%logits) {seed: 8, top_k: 1} as "top 1"
  save sample(%logits) {seed: 8, temperature: 1.5, top_k: 4, top_p: 0.9, min_p: 0.05} as "filtered"
  %none = list() {of: tensor<2xi64>}
  %drawn = loop(%none, %none, %logits) {trip: 6} (%i, %all, %some, %logits) {
    %t = sample(%logits, %i) {seed: 3}
    yield append(%all, %t), append(%some, %t, eq(remainder(%i, 3), 1))
  }
  save get(%drawn) {index: 0} as "each stream"
  save get(%drawn) {index: 1} as "two of them"
  %go = lt(sum([1]), 1)
  %kept = do loop([[5]], %none) {trip: 4} (%i, %x: tensor<1xNxi64>, %list) {
    log "never", %i
    yield cat(%x, %x) {dim: 1}, %list
  } if %go
  save get(%kept) {index: 0} as "what it would have begun with"
}
