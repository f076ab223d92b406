//! A plotters backend that writes small SVG whose colours the page decides.
//!
//! Plotters knows a style only as a colour. [`Paint::color`] therefore hides a style's number in a colour, and the
//! backend finds it there again and writes a class; light, dark and print are then the style sheet's business.
//! Consecutive shapes of one paint become one path, points as `h0` strokes with round or square ends: ten
//! bytes a point instead of a hundred.

use std::{cell::RefCell, convert::Infallible, fmt::Write as _, rc::Rc};

use plotters::{
    prelude::RGBColor,
    style::{Color as _, ShapeStyle},
};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
};

/// Units of geometry across the axis: fine enough to zoom in a thousand times.
pub const X_UNITS: u32 = 200_000;
/// Units of geometry in one pixel of height.
pub const Y_UNITS_PER_PX: u32 = 10;

/// How something is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    /// What it is.
    pub ink: Ink,
    /// Which kind of operation it belongs to, for filters; 0 for none, else its place + 1.
    pub kind: u8,
}

/// What is painted. Its place in the list of inks travels in a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// A horizontal line of the mesh.
    Mesh,
    /// The rate of ok operations.
    RateOk,
    /// The rate of failed ones.
    RateFail,
    /// The rate of those of which nobody knows.
    RateInfo,
    /// Half took at most this.
    P50,
    /// 95 of 100.
    P95,
    /// 99 of 100.
    P99,
    /// One ok operation.
    PointOk1,
    /// A few.
    PointOk2,
    /// Many.
    PointOk3,
    /// One failed operation.
    PointFail1,
    /// A few.
    PointFail2,
    /// Many.
    PointFail3,
    /// An operation that may still take effect.
    Open,
    /// How many of them there are.
    OpenCount,
    /// Every live node's source lists the member.
    MemberIn,
    /// It does, and some as pending.
    MemberPending,
    /// Some list it, some do not.
    MemberDiffers,
    /// Some could not be read; those that could list it.
    MemberUnreadIn,
    /// Some could not be read; none lists it.
    MemberUnread,
    /// It votes.
    RoleVoter,
    /// It stands by.
    RoleStandBy,
    /// It is a spare.
    RoleSpare,
}

/// All inks, and their classes.
const INKS: [(Ink, &str); 23] = [
    (Ink::Mesh, "mesh"),
    (Ink::RateOk, "rate ok"),
    (Ink::RateFail, "rate fail"),
    (Ink::RateInfo, "rate info"),
    (Ink::P50, "q p50"),
    (Ink::P95, "q p95"),
    (Ink::P99, "q p99"),
    (Ink::PointOk1, "pt ok d1"),
    (Ink::PointOk2, "pt ok d2"),
    (Ink::PointOk3, "pt ok d3"),
    (Ink::PointFail1, "pt fail d1"),
    (Ink::PointFail2, "pt fail d2"),
    (Ink::PointFail3, "pt fail d3"),
    (Ink::Open, "open info"),
    (Ink::OpenCount, "opencount info"),
    (Ink::MemberIn, "held in"),
    (Ink::MemberPending, "held pending"),
    (Ink::MemberDiffers, "held differs"),
    (Ink::MemberUnreadIn, "held unread-in"),
    (Ink::MemberUnread, "held unread"),
    (Ink::RoleVoter, "role voter"),
    (Ink::RoleStandBy, "role stand-by"),
    (Ink::RoleSpare, "role spare"),
];

impl From<Ink> for Paint {
    fn from(ink: Ink) -> Self {
        Self { ink, kind: 0 }
    }
}

impl Paint {
    /// The colour in which it travels through plotters.
    #[must_use]
    pub fn color(self) -> RGBColor {
        let place = INKS.iter().position(|(ink, _)| *ink == self.ink);
        RGBColor(place.unwrap_or_default() as u8, self.kind, 0)
    }

    /// As plotters takes it.
    #[must_use]
    pub fn style(self) -> ShapeStyle {
        self.color().filled()
    }
}

/// What has been drawn.
#[derive(Debug, Default)]
struct Canvas {
    svg: String,
    /// The path that is being written: its colour and whether it is filled.
    open: Option<((u8, u8, u8), bool)>,
    at: BackendCoord,
}

impl Canvas {
    fn begin(&mut self, color: BackendColor, fill: bool) {
        if self.open == Some((color.rgb, fill)) {
            return;
        }
        self.end();
        let (ink, kind, _) = color.rgb;
        let class = INKS
            .get(usize::from(ink))
            .map_or("mesh", |(_, class)| class);
        let filled = if fill { " fill" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(self.svg, "<path class=\"{class}{filled}\"");
        if kind > 0 {
            let _ = write!(self.svg, " data-k=\"{}\"", kind - 1);
        }
        self.svg.push_str(" d=\"M0 0");
        self.open = Some((color.rgb, fill));
        self.at = (0, 0);
    }

    fn end(&mut self) {
        if self.open.take().is_some() {
            self.svg.push_str("\"/>");
        }
    }

    fn step(&mut self, command: char, to: BackendCoord) {
        let (dx, dy) = (to.0 - self.at.0, to.1 - self.at.1);
        let gap = if dy < 0 { "" } else { " " };
        let _ = write!(self.svg, "{command}{dx}{gap}{dy}");
        self.at = to;
    }

    fn dot(&mut self, at: BackendCoord) {
        self.step('m', at);
        self.svg.push_str("h0");
    }

    fn lines(&mut self, points: impl IntoIterator<Item = BackendCoord>) {
        for (place, point) in points.into_iter().enumerate() {
            self.step(if place == 0 { 'm' } else { 'l' }, point);
        }
    }
}

/// The drawing; clones share it, so that one is left when plotters has eaten the other.
#[derive(Clone, Debug)]
pub struct CompactSvg {
    canvas: Rc<RefCell<Canvas>>,
    size: (u32, u32),
}

impl CompactSvg {
    /// An empty drawing of that height in pixels.
    #[must_use]
    pub fn new(height_px: u32) -> Self {
        Self {
            canvas: Rc::default(),
            size: (X_UNITS, height_px * Y_UNITS_PER_PX),
        }
    }

    /// What was drawn: paths without an `<svg>` around them.
    #[must_use]
    pub fn into_paths(self) -> String {
        let mut canvas = self.canvas.borrow_mut();
        canvas.end();
        std::mem::take(&mut canvas.svg)
    }
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl DrawingBackend for CompactSvg {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn {
        let mut canvas = self.canvas.borrow_mut();
        canvas.begin(color, false);
        canvas.dot(point);
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let mut canvas = self.canvas.borrow_mut();
        canvas.begin(style.color(), fill);
        canvas.lines([
            upper_left,
            (bottom_right.0, upper_left.1),
            bottom_right,
            (upper_left.0, bottom_right.1),
            upper_left,
        ]);
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        let mut canvas = self.canvas.borrow_mut();
        canvas.begin(style.color(), false);
        canvas.lines(path);
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        _radius: u32,
        style: &S,
        _fill: bool,
    ) -> Drawn {
        self.draw_pixel(center, style.color())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        vert: I,
        style: &S,
    ) -> Drawn {
        let mut canvas = self.canvas.borrow_mut();
        canvas.begin(style.color(), true);
        canvas.lines(vert);
        Ok(())
    }

    /// Text is placed by the page, in per cent, where it keeps its shape.
    fn draw_text<T: BackendTextStyle>(
        &mut self,
        _text: &str,
        _style: &T,
        _at: BackendCoord,
    ) -> Drawn {
        Ok(())
    }

    fn estimate_text_size<T: BackendTextStyle>(
        &self,
        _text: &str,
        _style: &T,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        Ok((0, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_paints_share_a_path() {
        let drawing = CompactSvg::new(10);
        let mut pen = drawing.clone();
        let ok = Paint {
            ink: Ink::PointOk1,
            kind: 1,
        }
        .style();
        let fail = Paint::from(Ink::PointFail1).style();
        for (at, style) in [((5, 5), &ok), ((7, 4), &ok), ((9, 9), &fail)] {
            assert!(pen.draw_circle(at, 1, style, true).is_ok());
        }
        drop(pen);
        assert_eq!(
            drawing.into_paths(),
            "<path class=\"pt ok d1\" data-k=\"0\" d=\"M0 0m5 5h0m2-1h0\"/>\
             <path class=\"pt fail d1\" d=\"M0 0m9 9h0\"/>"
        );
    }
}
